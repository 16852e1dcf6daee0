"""Everything on the NIC's core: what removing the overlay's work gains, without spreading."""

from steering.policy import Order, Policy

POLICY = Policy(
    summary="strip the tunnel and deliver on the NIC's own core; no spreading",
    order=Order.STRICT,
    knobs={},
    good="light flows; the yardstick for what spreading adds",
    drowns="when one core is not enough",
)
