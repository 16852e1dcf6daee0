"""Never reorders: a flow moves only when nothing of it is on its way."""

from steering.policy import Knob, Need, Order, Policy

POLICY = Policy(
    summary="a flow moves only when none of its packets is on its way any more",
    order=Order.STRICT,
    knobs={"limit": Knob(128, 1, 8192, "packets", "backlog from which it gets no more flows")},
    good="many flows with pauses: spread, and never reordered",
    drowns="one flow without pauses stays on one core, as with pin",
    needs=frozenset({Need.CLEAR, Need.PRESSURE}),
    counters={
        "moves": "times that a flow changed its core",
    },
)
