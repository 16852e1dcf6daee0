"""A policy for tests: any slot on demand, sensible or not, and it keeps what it was told."""

from steering.policy import Knob, Need, Order, Policy

POLICY = Policy(
    summary="the slot that the knob says",
    order=Order.UNORDERED,
    knobs={"slot": Knob(0, 0, 0xFFFFFFFF, "slot", "what is returned for every packet")},
    good="tests",
    drowns="always",
    needs=frozenset({Need.TIME}),
)
