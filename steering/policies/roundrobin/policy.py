"""A new slot for every packet."""

from steering.knobs import Knob
from steering.policy import Order, Policy

POLICY = Policy(
    summary="a new slot for every packet, in turn",
    order=Order.UNORDERED,
    knobs={"local": Knob(1, 0, 1, "0/1", "whether the NIC's own core takes its turn")},
    good="the plainest per-packet parallelism, to compare with",
    drowns="GRO finds nothing to merge; the slowest core loses packets",
)
