"""An experiment carried out: checked, measured round by round, profiled, the host on record."""

import math
import os
from dataclasses import replace
from functools import partial

from bench import options
from bench.bed import Bed, BedSpec, check
from bench.experiment import Experiment, Placement, Point
from bench.fingerprint import fingerprint
from bench.lab_plan import plan
from bench.profile import profile
from bench.results import Results
from bench.run import Load, Measure, Place, on
from bench.runner import LabRunner, Note, Timing, conduct
from bench.sinks import check as check_sink
from bench.stock_best import resolve, seconds_missing
from bench.traffic import Traffic, frames

MINUTE = 60
_OWN_SECONDS = 0.1


def checked(experiment: Experiment) -> Placement:
    """Where it runs on this host; BadInput for what does not exist. Changes nothing."""
    placement = experiment.placement.on(sorted(os.sched_getaffinity(0)))
    for variant in experiment.variants():
        check(variant, placement)
    for point in experiment.points():
        check_sink(point.sink, point.traffic.name)
        _fits(experiment, point)
    return placement


def _fits(experiment: Experiment, point: Point) -> None:
    """BadInput for packets that are too large for the lab; a real client cuts them itself."""
    if point.traffic.name == "iperf3":
        return
    for case in dict.fromkeys(variant.case for variant in point.variants):
        lab = plan(bed_spec(experiment).lab(case))
        frames(lab, Traffic(point.payload, kind=point.traffic), 0)


def bed_spec(experiment: Experiment, lab: str = "osp") -> BedSpec:
    """The labs that an experiment wants, under this name."""
    shape = experiment.lab
    return BedSpec(lab, shape.containers, shape.mtu, shape.outer, shape.inner)


def duration(experiment: Experiment) -> float:
    """About how many seconds it takes, what has to be swept for ``stock-best`` included."""
    return experiment.estimate() + seconds_missing(experiment)


def minutes(seconds: float) -> str:
    """``about 13 minutes``."""
    count = max(1, round(seconds / MINUTE))
    return f"about {count} minute{'s' if count > 1 else ''}"


def carry_out(experiment: Experiment, results: Results, lab: str) -> None:
    """Measure what is not in ``results`` yet, in labs of this name."""
    placement = checked(experiment)
    missing = experiment.runs() - len(results.done())
    results.add_fingerprint("before", fingerprint())
    try:
        with (
            Bed(placement, bed_spec(experiment, lab)) as bed,
            options.told(experiment.name, missing) as (note, step),
        ):
            timing = Timing(experiment.seconds, experiment.warmup)
            conduct(LabRunner(bed, timing, experiment.limits, note), experiment, results, step)
            if experiment.profile:
                _profile(bed, experiment, results, note)
            if not results.own_cost()[1]:
                _own_cost(bed, experiment, results, note)
    finally:
        results.add_fingerprint("after", fingerprint())


def _profile(bed: Bed, experiment: Experiment, results: Results, note: Note) -> None:
    """Sample what has no profile yet, each variant at each point."""
    done = results.profiles()
    for point in experiment.points():
        for variant in point.variants:
            if (point.id, str(variant)) in done:
                continue
            note(f"{point.id}: profile of {variant}")
            actual = resolve(bed, variant, point, note)
            found = profile(bed, actual, _load(point, experiment.profile))
            results.add_profile(point.id, found.named(str(variant)))


def _own_cost(bed: Bed, experiment: Experiment, results: Results, note: Note) -> None:
    """What the observers take of a packet, at the busiest point, in runs that count for nothing."""
    point, costs = max(experiment.points(), key=_rate), {}
    bed.put_beside(point.neighbour)
    for variant in point.variants:
        note(f"{point.id}: the observers' cost with {variant}")
        actual = resolve(bed, variant, point, note)
        load = replace(_load(point, _OWN_SECONDS), warmup=_OWN_SECONDS / 2)
        with on(bed)(actual) as measure:
            run = partial(_delivered, measure, load)
            costs[str(variant)] = bed.collectors(actual.case).own_cost(run)
    results.put_own_cost(point.id, costs)


def _rate(point: Point) -> float:
    return point.rate if isinstance(point.rate, int) else math.inf


def _delivered(measure: Measure, load: Load) -> int:
    return measure(load, Place()).delivered


def _load(point: Point, seconds: float) -> Load:
    rate = point.rate if isinstance(point.rate, int) else None
    traffic = Traffic(point.payload, point.flows, rate, point.arrivals, kind=point.traffic)
    return Load(traffic, point.sink, seconds, 0.0)
