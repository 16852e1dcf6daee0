"""``stock-best``: the best that stock Linux can do for a given traffic, found by a saved sweep.

Every device x core mask x kind of GRO x threaded NAPI is tried, first shortly, then the better
third for longer, and so on (successive halving, Jamieson and Talwalkar 2016); each at the load at
which it delivers most.
"""

import itertools
import json
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import offered
from bench.bed import Bed
from bench.experiment import Experiment, Point
from bench.run import Load, run
from bench.sample import Sample
from bench.traffic import Traffic
from bench.variant import Variant
from steering.errors import BadInput, OversprayError

Note = Callable[[str], None]

_ROUNDS = ((0.1, 1), (0.2, 2), (0.4, 3))
"""Seconds of a run and runs of each candidate, stage by stage."""
SWEEP_SECONDS = 120
"""About what a sweep takes, on two cores."""
_VERSION = 2
"""Grows when candidates, loads or stages change: an older winner is no answer any more."""
_FIRST_TRIALS = 4
"""Loads tried in the first stage: enough to tell a path that collapses from a slow one."""
_KEEP = 3
"""One in so many candidates goes on to the next stage."""

_GRO = (
    "",
    "+gro-off:nic=1,tunnel=0,container=0",
    "+gro:nic=0,tunnel=0,container=1",
    "+gro-list",
    "+gro-list:nic=1,tunnel=1,container=1",
    "+udp-forward",
)
_NAPI = ("", "+threaded")


@dataclass(frozen=True)
class Ranked:
    """One candidate of the last stage it reached: packets delivered a second, the median."""

    variant: str
    rate_pps: float
    stage: int


def candidates(case: str, cores: int) -> list[Variant]:
    """All combinations for a case; masks: one other core, all others, all with the NIC's."""
    every = (1 << cores) - 1
    masks = sorted({2, every & ~1, every} if cores > 1 else {1})
    stages = {"native": ["rps"], "linux": ["rps", "rps-vxlan"]}
    devices = stages.get(case, ["rps", "rps-vxlan", "rps-veth"])
    steering = ["none", *(f"{d}:mask={m:x}" for d, m in itertools.product(devices, masks))]
    found = []
    for name, gro, napi in itertools.product(steering, _GRO, _NAPI):
        if case in ("native", "linux") and "container=1" in gro:
            continue
        found.append(Variant.parse(f"{case}/{name}{gro}{napi}"))
    return found


def sweep(bed: Bed, case: str, point: Point, note: Note) -> list[Ranked]:
    """Try all candidates; the best first."""
    alive = candidates(case, os.cpu_count() or 1)
    ranked: dict[str, Ranked] = {}
    for stage, (seconds, runs) in enumerate(_ROUNDS):
        scores: dict[str, list[float]] = {str(variant): [] for variant in alive}
        for number, variant in itertools.product(range(runs), alive):
            done = sum(len(each) for each in scores.values())
            note(f"stock-best of {case}: stage {stage + 1}, {done + 1} of {len(alive) * runs}")
            trials = offered.TRIALS if stage else _FIRST_TRIALS
            scores[str(variant)].append(_delivered(bed, variant, point, seconds, number, trials))
        for text, values in scores.items():
            ranked[text] = Ranked(text, sorted(values)[len(values) // 2], stage)
        alive.sort(key=lambda variant: -ranked[str(variant)].rate_pps)
        if stage + 1 < len(_ROUNDS):
            alive = alive[: max(_KEEP, len(alive) // _KEEP)]
    return sorted(ranked.values(), key=lambda each: (-each.stage, -each.rate_pps))


def _delivered(
    bed: Bed,
    variant: Variant,
    point: Point,
    seconds: float,
    seed: int,
    trials: int,
) -> float:
    best = 0.0

    def measure(rate: int | None) -> Sample:
        nonlocal best
        traffic = Traffic(point.payload, point.flows, rate, point.arrivals, seed + 1, point.traffic)
        sample = run(bed, variant, Load(traffic, point.sink, seconds, 0.05))
        best = max(best, sample.rate_pps)
        return sample

    try:
        offered.best_rate(measure, trials)
    except BadInput:
        raise
    except OversprayError:  # a combination that this kernel refuses
        return 0.0
    return best


def resolve(bed: Bed, variant: Variant, point: Point, note: Note) -> Variant:
    """The variant itself, or the saved winner where it is ``stock-best`` (else swept first).

    What stands behind a ``+`` is added to the winner.
    """
    if variant.steering.name != "stock-best":
        return variant
    winner = saved(variant.case, point)
    if winner is None:
        ranking = sweep(bed, variant.case, point, note)
        save(variant.case, point, ranking)
        winner = Variant.parse(ranking[0].variant)
    return Variant(variant.case, winner.steering, (*winner.coalescing, *variant.coalescing))


def saved(case: str, point: Point) -> Variant | None:
    """The winner of the last sweep for this traffic on this host; None: there was none."""
    try:
        content = json.loads(_path(case, point).read_text())
        return Variant.parse(content["ranking"][0]["variant"])
    except (OSError, ValueError, KeyError, IndexError, TypeError, BadInput):
        return None


def seconds_missing(experiment: Experiment) -> int:
    """About how long the sweeps take that an experiment needs and that are not saved yet."""
    needed = {
        (variant.case, point.id): point
        for point in experiment.points()
        for variant in point.variants
        if variant.steering.name == "stock-best"
    }
    return SWEEP_SECONDS * sum(saved(case, point) is None for (case, _), point in needed.items())


def save(case: str, point: Point, ranking: list[Ranked]) -> Path:
    """Keep a sweep for later comparisons; returns where."""
    path = _path(case, point)
    content = {
        "host": host(),
        "case": case,
        "traffic": _traffic(point),
        "ranking": [vars(each) for each in ranking],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(content, indent=1) + "\n")
    fresh.replace(path)
    return path


def host() -> str:
    """What a winner holds for: kernel, architecture, cores."""
    return f"{platform.release()} {platform.machine()} {os.cpu_count()} cores"


def _traffic(point: Point) -> str:
    rate = "" if point.rate in ("best", "max") else f", {point.rate}"
    flows = f"{point.flows} flows"
    return f"{point.traffic}, {point.payload} B, {flows}, {point.arrivals}, {point.sink}{rate}"


def _path(case: str, point: Point) -> Path:
    state = Path(os.environ.get("XDG_STATE_HOME", Path.home() / ".local/state"))
    words = f"v{_VERSION} {host()} {case} {_traffic(point)}"
    name = "".join(c if c.isalnum() else "-" for c in words)
    return state / "overspray" / "stock-best" / f"{name}.json"
