"""Each flow has the core that its inner addresses and ports name."""

from steering.policy import Knob, Order, Policy

POLICY = Policy(
    summary="the inner 5-tuple picks the core, as RSS would had it seen it",
    order=Order.STRICT,
    knobs={"local": Knob(1, 0, 1, "yes or no", "whether the NIC's core is one of the choices")},
    good="many flows of like weight",
    drowns="one flow has one core; heavy flows may meet on one",
)
