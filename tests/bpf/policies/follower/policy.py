"""As witness, and it is told what costs something."""

from steering.policy import Knob, Need, Order, Policy

POLICY = Policy(
    summary="the slot that the knob says",
    order=Order.UNORDERED,
    knobs={"slot": Knob(0, 0, 0xFFFFFFFF, "slot", "what is returned for every packet")},
    good="tests",
    drowns="always",
    needs=frozenset({Need.TIME, Need.CLEAR, Need.PRESSURE}),
)
