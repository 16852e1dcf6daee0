"""The Python half: what people are told of the policy, and its knobs. `overspray policy check` reads both."""

from steering.knobs import Knob
from steering.policy import Order, Policy

POLICY = Policy(
    # One line, for tables.
    summary="cells in turn over the NIC's core and the workers; one that is behind is passed over",
    # What is promised of one flow's packets: STRICT, CELL (at least `cell` packets stay together), UNORDERED.
    order=Order.CELL,
    # Each is a __u32 in `struct knobs`, in this order, set by NAME:cell=32,limit=0.
    # Default, lowest, highest, unit, help. A value out of range never reaches the C half.
    knobs={
        "cell": Knob(64, 1, 4096, "packets", "length of a cell; NAPI's weight is 64"),
        "limit": Knob(128, 0, 16384, "packets", "backlog beyond which a worker is passed over"),
    },
    good="what it is good for",
    drowns="when it is not",
    # Whether packet->now is read: that costs a clock for every packet.
    needs_time=False,
    # The version of xdp/include/policy.h that this is written for.
    contract=1,
)
