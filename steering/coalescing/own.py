"""Our coalescing, with any policy of ours: what the datapath gathers, as its common knobs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from steering.errors import BadInput
from steering.policy import Knob, read_knobs
from steering.spec import Spec


@dataclass(frozen=True)
class Own:
    """One of them; it sets ``common``, a knob of every policy (:data:`steering.plan.COMMON`)."""

    name: str
    summary: str
    common: str
    argument: str
    knob: Knob


OWN: Mapping[str, Own] = {
    each.name: each
    for each in (
        Own(
            "cells",
            "a decision holds for a run of a flow's packets: one softirq and one wake-up for all",
            *("cells", "packets"),
            Knob(64, 1, 4096, "packets", "of a flow that go where the first one went"),
        ),
        Own(
            "nice",
            "the workers' threads make way for an application, and take more at a time",
            *("nice", "by"),
            Knob(10, 0, 19, "nice", "of the threads"),
        ),
    )
}


def merged(steering: Spec, coalescing: Sequence[Spec]) -> tuple[Spec, tuple[Spec, ...]]:
    """A policy with what is ours of the coalescing among its knobs, and the rest, which is stock.

    Raises:
        BadInput: a value out of range, or a knob that the policy is given already.
    """
    args = dict(steering.args)
    for spec in coalescing:
        if spec.name not in OWN:
            continue
        own = OWN[spec.name]
        if own.common in args:
            raise BadInput(f"'+{spec}' and {own.common}={args[own.common]}: say one of them")
        [value] = read_knobs(f"'{own.name}'", {own.argument: own.knob}, spec.args).values()
        args[own.common] = str(value)
    rest = tuple(spec for spec in coalescing if spec.name not in OWN)
    return replace(steering, args=args), rest
