"""A flow changes its slot only after a pause."""

from steering.knobs import Knob
from steering.policy import Order, Policy

POLICY = Policy(
    summary="a flow moves to the least loaded worker only after a pause longer than the queues could hold",
    order=Order.CELL,
    knobs={
        "gap": Knob(
            10_000, 1, 1_000_000, "µs", "shortest pause; a full queue of 2048 is emptied in 2000 to 4000"
        ),
        "limit": Knob(192, 0, 16384, "packets", "backlog of a worker up to which a flow is given to it"),
    },
    good="flows that come in bursts: in order as long as no worker stalls for longer than the gap",
    drowns="a flow that never pauses stays on one core",
    needs_time=True,
)
