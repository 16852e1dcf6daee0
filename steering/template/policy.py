"""NAME: the half of the policy that people and commands read. The decision is in policy.h."""

from steering.policy import Knob, Order, Policy

POLICY = Policy(
    # One line, for `overspray policy list`.
    summary="cells to the workers in turn, while their backlog is below a limit",
    # What `overspray policy check` holds it to: STRICT, CELL or UNORDERED.
    order=Order.CELL,
    # Each becomes a member of struct knobs: knobs->cell. Knob(default, low, high, unit, help).
    knobs={
        "cell": Knob(64, 1, 4096, "packets", "length of a cell; NAPI's weight is 64"),
        "limit": Knob(128, 1, 8192, "packets", "backlog from which a worker gets no more cells"),
    },
    # Be honest: others choose by these two.
    good="what it is good for",
    drowns="when it loses",
    # What costs something to know has to be asked for: needs=frozenset({Need.TIME}) for
    # packet->now; see Need in steering/policy.py for the others.
)
