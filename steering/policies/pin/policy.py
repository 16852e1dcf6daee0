"""Everything on one worker."""

from steering.knobs import Knob
from steering.policy import Order, Policy

POLICY = Policy(
    summary="strip the tunnel and deliver on one other core",
    order=Order.STRICT,
    knobs={"worker": Knob(1, 1, 64, "slot", "which worker; the last one, where there are fewer")},
    good="the NIC's core has other work",
    drowns="when that worker falls behind: its queue overflows",
)
