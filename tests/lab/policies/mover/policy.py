"""A policy for tests: moves a flow whenever that keeps its order."""

from steering.policy import Need, Order, Policy

POLICY = Policy(
    summary="a clear flow moves on to the next slot",
    order=Order.STRICT,
    knobs={},
    good="tests",
    drowns="always",
    needs=frozenset({Need.CLEAR}),
)
