"""What an experiment found: each pair's comparison at each point, as data and as a sentence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from bench.ab import compared, unequal
from bench.results import Sample as Saved
from bench.run import Sample
from bench.statistics import Comparison
from steering.errors import BadInput

_MOST_TOLD = 3
"""Points that a sentence tells one by one; of more it gives the range."""


@dataclass(frozen=True)
class Found:
    """One pair at one point."""

    ours: str
    other: str
    point: str
    """What tells it from the others; empty for an only one."""
    result: Comparison
    rate: float
    """Packets a second that ours delivers, median."""
    unequal: Mapping[str, Sequence[str | None]]
    """Settings in which the two differ."""

    @property
    def notes(self) -> list[str]:
        """What weakens it."""
        return [*self.result.reasons, *self.result.warnings]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        ratio = self.result.ratio
        return {
            **{"a": self.other, "b": self.ours, "point": self.point, "verdict": self.result.verdict},
            "rounds": self.result.rounds,
            "ratio": {"median": ratio.median, "low": ratio.low, "high": ratio.high},
            **{"rate": self.rate, "notes": self.notes, "unequal": self.unequal},
        }


def found(samples: Sequence[Saved], pair: tuple[str, str], seed: int, point: str = "") -> Found | None:
    """One pair, of the samples of one point; None where they share no round.

    BadInput where a sample lacks what a comparison needs.
    """
    runs = [
        {(each.get("batch", 0), each["round"]): each for each in samples if each["variant"] == name}
        for name in pair
    ]
    both = sorted(runs[0].keys() & runs[1].keys())
    if not both:
        return None
    try:
        b, a = ([Sample.read(side[key]) for key in both] for side in runs)
    except TypeError as error:
        raise BadInput(f"a run of {pair[0]} or {pair[1]} is damaged: {error}") from None
    result = compared(a, b, seed, [batch for batch, _ in both])
    rate = median(sample.rate for sample in b)
    return Found(*pair, point, result, rate, unequal(a[0].settings, b[0].settings))


def sentences(each: Sequence[Found]) -> list[str]:
    """One for each pair, whatever the points."""
    pairs = dict.fromkeys((one.ours, one.other) for one in each)
    return [_sentence([one for one in each if (one.ours, one.other) == pair]) for pair in pairs]


def notes(each: Sequence[Found]) -> list[str]:
    """What weakens them, where the sentences don't say it: those of an only point do."""
    found = (f"at {one.point}: {note}" for one in each if one.point for note in one.notes)
    return list(dict.fromkeys(found))


def _sentence(points: Sequence[Found]) -> str:
    first = points[0]
    if not first.point:
        weak = f" ({'; '.join(first.notes)})" if first.notes else ""
        return f"{first.ours} delivers {_told(first)} times {first.other}: {first.result.verdict}{weak}."
    if len(points) <= _MOST_TOLD:
        told = [f"{_told(one)} at {one.point} ({one.result.verdict})" for one in points]
        return f"{first.ours} delivers, each as times {first.other}: {'; '.join(told)}."
    least, *_, most = sorted(points, key=lambda one: one.result.ratio.median)
    verdicts = [one.result.verdict for one in points]
    counts = [f"{verdict} at {verdicts.count(verdict)}" for verdict in dict.fromkeys(verdicts)]
    span = " to ".join(f"{one.result.ratio.median:.2f} ({one.point})" for one in (least, most))
    return f"{first.ours} delivers {span} times {first.other}; of {len(points)} points {', '.join(counts)}."


def _told(one: Found) -> str:
    ratio = one.result.ratio
    return f"{one.rate / 1e6:.2f} Mpps, {ratio.median:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"
