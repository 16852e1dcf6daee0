"""Runs the points of an experiment: interleaved rounds in seeded random order."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace

from bench import offered
from bench.bed import Bed, check
from bench.experiment import Experiment, Limits, Point
from bench.results import Results
from bench.run import Load, Place, run
from bench.sample import Sample
from bench.stock_best import resolve
from bench.traffic import Traffic
from bench.variant import Variant
from steering.errors import BadInput, OversprayError

Note = Callable[[str], None]
"""Told what is being done: one short line."""


@dataclass(frozen=True)
class Timing:
    """Seconds of a run's parts."""

    seconds: float
    warmup: float


class Runner(ABC):
    """Runs variants at points; remembers each variant's offered load. What runs them is a matter
    of subclasses."""

    def __init__(self, timing: Timing, limits: Limits, note: Note) -> None:
        self._timing = timing
        self._limits = limits
        self._note = note
        self._rates: dict[tuple[str, str], int | None] = {}

    def prepare(self, point: Point) -> None:
        """Check all variants of a point, and find what the rounds need: ``stock-best``, loads.

        Raises:
            BadInput: a variant that does not exist or can't run here.
        """
        for variant in point.variants:
            self._check(variant)
        for variant in point.variants:
            self._rate(point, variant)

    def sample(self, point: Point, variant: Variant, place: Place, seed: int) -> Sample:
        """One run of a variant at a point. What the kernel refuses makes it invalid, no more."""
        self._note(f"{point.id}: round {place.round + 1}, {variant}")
        try:
            if point.rate == "search":
                return offered.search(
                    lambda rate: self._run(point, variant, rate, seed, place), self._limits.loss
                )
            return self._run(point, variant, self._rate(point, variant), seed, place)
        except BadInput:
            raise
        except OversprayError as error:
            return _failed(point, variant, place, seed, str(error))

    def _rate(self, point: Point, variant: Variant) -> int | None:
        if isinstance(point.rate, int):
            return point.rate
        if point.rate == "stock-limit":
            return self._stock_limit(point, variant.case)
        # A stream is offered as fast as its receiver takes it, and never faster.
        if point.rate != "best" or point.traffic.name != "udp":
            return None
        key = (point.id, str(variant))
        if key not in self._rates:
            self._note(f"{point.id}: best offered load of {variant}")
            short = self._timing.seconds / 2
            self._rates[key] = offered.best_rate(
                lambda rate: self._run(point, variant, rate, 1, Place(), short)
            )
        return self._rates[key]

    def _stock_limit(self, point: Point, case: str) -> int:
        """The highest load that stock Linux at its best takes without loss, in this case."""
        key = (point.id, f"{case}/stock-best")
        if key not in self._rates:
            stock = Variant.parse(key[1])
            self._note(f"{point.id}: limit of {stock}")
            short = self._timing.seconds / 2
            found = offered.search(
                lambda rate: self._run(point, stock, rate, 1, Place(), short), self._limits.loss
            )
            self._rates[key] = max(1, round(found.offered / found.seconds))
        return self._rates[key] or 1

    @abstractmethod
    def _check(self, variant: Variant) -> None:
        """BadInput for a variant that can't be run."""

    @abstractmethod
    def _run(
        self,
        point: Point,
        variant: Variant,
        rate: int | None,
        seed: int,
        place: Place,
        seconds: float | None = None,
    ) -> Sample:
        """One run, at this rate; ``seconds`` in place of the experiment's."""


class LabRunner(Runner):
    """Measures on one bed."""

    def __init__(self, bed: Bed, timing: Timing, limits: Limits, note: Note) -> None:
        super().__init__(timing, limits, note)
        self._bed = bed

    def _check(self, variant: Variant) -> None:
        check(variant, self._bed.placement)

    def _run(
        self,
        point: Point,
        variant: Variant,
        rate: int | None,
        seed: int,
        place: Place,
        seconds: float | None = None,
    ) -> Sample:
        traffic = Traffic(point.payload, point.flows, rate, point.arrivals, seed, point.traffic)
        load = Load(traffic, point.sink, seconds or self._timing.seconds, self._timing.warmup)
        self._bed.put_beside(point.neighbour)
        actual = resolve(self._bed, variant, point, self._note)
        sample = run(self._bed, actual, load, replace(place, point=point.id))
        settings = dict(sample.settings)
        if rate is not None:
            settings["rate"] = str(rate)
        if actual != variant:
            settings["resolved"] = str(actual)
        return sample.model_copy(update={"variant": str(variant), "settings": settings})


def conduct(
    runner: Runner, experiment: Experiment, results: Results, step: Callable[[], None]
) -> None:
    """Run what is not done yet; ``step`` is called after every run."""
    done = results.done()
    for point in experiment.points():
        todo = [
            (number, position, variant)
            for number in range(experiment.rounds)
            for position, variant in enumerate(experiment.order(point, number))
            if (point.id, number, str(variant)) not in done
        ]
        if todo:
            runner.prepare(point)
        for number, position, variant in todo:
            seed = experiment.run_seed(point, number)
            results.add(runner.sample(point, variant, Place(point.id, number, position), seed))
            step()


def _failed(point: Point, variant: Variant, place: Place, seed: int, reason: str) -> Sample:
    return Sample(
        point=point.id,
        round=place.round,
        position=place.position,
        variant=str(variant),
        seed=seed,
        started=time.time(),
        seconds=1e-9,
        offered=0,
        delivered=0,
        delivered_bytes=0,
        wire_share=0.0,
        invalid=[reason],
    )
