"""The order-keeping alternative: strip and GRO on the NIC's core, the rest on another, by RPS."""

from steering.policy import Order, Policy

POLICY = Policy(
    summary="strip and GRO on the NIC's own core, the container's stack on another by RPS",
    order=Order.STRICT,
    knobs={},
    good="one TCP stream whose sender must see no disorder at all",
    drowns="at what the busier of two cores can do; a third has nothing to do for one flow",
    rps=True,
)
