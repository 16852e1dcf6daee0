"""A flow changes its slot only when nothing of it is in the old core's path."""

from steering.knobs import Knob
from steering.policy import Order, Policy

POLICY = Policy(
    summary="a flow moves to the least loaded worker only when none of its packets is on the old core's path",
    order=Order.STRICT,
    knobs={
        "limit": Knob(192, 0, 16384, "packets", "backlog of a worker up to which a flow is given to it"),
    },
    good="many flows that change, where order matters more than an even load",
    drowns="a flow that never pauses for 1 ms stays on one core, and loses what that can't take",
    needs_time=True,
    needs_through=True,
)
