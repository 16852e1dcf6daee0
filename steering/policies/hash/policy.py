"""The inner 5-tuple's hash picks a slot for the whole flow."""

from steering.knobs import Knob
from steering.policy import Order, Policy

POLICY = Policy(
    summary="a flow stays on the slot that its inner 5-tuple's hash picks, as with RSS on the inner header",
    order=Order.STRICT,
    knobs={"local": Knob(1, 0, 1, "0/1", "whether the NIC's own core has a share of the flows")},
    good="many flows of like weight; the yardstick for spreading inside a flow",
    drowns="one heavy flow gets one core, and two may share one while others idle",
)
