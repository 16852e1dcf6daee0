"""Costs with nothing in them but what a test asks for."""

from math import sqrt

from prototype.costs import Cost, Costs, Shared, Stages, reference


def made_costs(spread: float = 0, **means: float) -> Costs:
    """So many ns for the stages named, all else and all waits 0."""
    stages = {
        name: Cost(mean=means.get(name, 0), spread=spread if name in means else 0)
        for name in Stages.model_fields
    }
    nothing = dict.fromkeys(
        ("byte", "copy_byte", "contention", "memory", "irq_latency", "ipi_latency", "wake_latency"),
        0.0,
    )
    shared = Shared(cold=0, deep=0, depth=1024, slice=3e6, softirq_limit=2e6, **nothing)
    return Costs(source="a test", stages=Stages(**stages), shared=shared)


def uneven_costs() -> Costs:
    """The reference's without spread, and odd: no two things happen at the same time by chance."""
    stages = reference().deterministic()
    factors = {name: 1 + 0.01 * sqrt(2 + place) for place, (name, _) in enumerate(stages.each())}
    return stages.scaled(factors)
