"""A flow changes its core only after a pause longer than the queues can hold."""

from steering.policy import Knob, Need, Order, Policy

POLICY = Policy(
    summary="a flow moves to the least loaded worker after a pause, and only then",
    order=Order.CELL,
    knobs={
        "gap": Knob(4000, 1, 1000000, "us", "pause that ends a flowlet"),
        "limit": Knob(128, 1, 8192, "packets", "backlog from which a worker gets no more flows"),
    },
    good="flows with pauses: they move to where there is room",
    drowns="a flow without pauses stays where it began",
    needs=frozenset({Need.TIME}),
    counters={
        "flowlets": "flowlets that began",
    },
)
