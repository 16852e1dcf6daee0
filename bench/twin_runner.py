"""The model of the receive path in place of the lab: the same experiments, variants and results.

Its samples say that they are simulated, and no result mixes them with measured ones.
"""

import time
from collections.abc import Callable
from dataclasses import replace

from bench.experiment import Experiment, Limits, Point
from bench.results import Results
from bench.run import Place
from bench.runner import Note, Runner, Timing, conduct
from bench.sample import Sample
from bench.variant import Variant
from prototype.costs import Costs
from prototype.model import simulate
from prototype.model_outcome import Outcome
from prototype.records import Row, in_our_words
from steering.errors import BadInput


class TwinRunner(Runner):
    """Simulates a lab of so many cores."""

    def __init__(
        self, costs: Costs, cores: int, timing: Timing, limits: Limits, note: Note
    ) -> None:
        super().__init__(timing, limits, note)
        self._costs, self._cores = costs, cores

    def _check(self, variant: Variant) -> None:
        _row("udp, 18 B, 1 flow, max, constant, count", variant, None, self._cores).parsed()

    def _run(
        self,
        point: Point,
        variant: Variant,
        rate: int | None,
        seed: int,
        place: Place,
        seconds: float | None = None,
    ) -> Sample:
        if point.neighbour.name != "none":
            raise BadInput(f"neighbour '{point.neighbour}': the model has none")
        setup, machine, load = _row(point.id, variant, rate, self._cores).parsed()
        timing = self._timing
        load = replace(
            load, seconds=seconds or timing.seconds, warmup=timing.warmup, seed=max(1, seed)
        )
        return _sample(simulate(setup, machine, load, self._costs), variant, point, place, seed)


def carry_out(
    experiment: Experiment,
    results: Results,
    costs: Costs,
    note: Note,
    step: Callable[[], None] = lambda: None,
) -> None:
    """Simulate what is not in ``results`` yet: the placement's cores, every variant and point.

    Raises:
        BadInput: something that the model does not have.
    """
    cores = 1 + max((experiment.placement.nic, *experiment.placement.workers, 1))
    timing = Timing(experiment.seconds, experiment.warmup)
    runner = TwinRunner(costs, cores, timing, experiment.limits, note)
    conduct(runner, experiment, results, step)


def _row(point: str, variant: Variant, rate: int | None, cores: int) -> Row:
    return Row(
        experiment="",
        point=point,
        variant=str(variant),
        resolved=in_our_words(str(variant)),
        asked=rate,
        measured=1.0,
        runs=1,
        invalid=0,
        wire=0.0,
        cores=cores,
    )


def _sample(outcome: Outcome, variant: Variant, point: Point, place: Place, seed: int) -> Sample:
    """The record of a run, as the bench keeps it."""
    # What is delivered in the time, and of what was sent in it: their ratio is the time's.
    seconds = outcome.delivered / outcome.rate_pps if outcome.rate_pps else outcome.seconds
    return Sample(
        source="twin",
        point=place.point,
        round=place.round,
        position=place.position,
        variant=str(variant),
        seed=seed,
        started=time.time(),
        seconds=max(seconds, 1e-9),
        asked=None if outcome.asked is None else round(outcome.asked),
        settings={} if outcome.asked is None else {"rate": str(round(outcome.asked))},
        offered=outcome.offered,
        delivered=outcome.delivered,
        delivered_bytes=outcome.delivered * outcome.payload,
        drops=outcome.drops,
        order=outcome.order,
        latency={name: ns for name, ns in outcome.latency.items() if name != "mean"},
        cores=outcome.cores,
        per_packet=outcome.per_packet,
        gathered=outcome.gathered,
        wire_share=min(1.0, outcome.cores.get(0, {}).get("wire", 0.0)),
    )
