"""What the paper found, and whether it holds in what was measured here.

``paper_figures.toml`` has an entry for each of its numbers: the paper's value, from which runs ours
is made, and on which side of which bound the finding holds. A value is a quotient of figures of
runs of the same round; the interval is that of its median over the rounds.
"""

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bench.analysis import METRICS, weaknesses
from bench.experiment import Experiment, Point
from bench.results import Results
from bench.sample import Sample
from bench.statistics import FEWEST_ROUNDS, Interval, interval
from bench.suite import failure
from bench.variant import Variant
from steering.errors import BadInput

FILE = Path(__file__).with_name("paper_figures.toml")
MOST, LEAST = "most", "least"
"""In place of a number: the largest or smallest that the experiment's points have."""

Verdict = Literal["holds", "does not hold", "undecided", "not measured"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Term(_Section):
    """A variant at one point of an experiment; ``at`` names the point by as much as it takes."""

    experiment: str
    variant: str
    at: dict[str, str | int] = {}
    metric: str = ""
    """Another one than the finding's."""


class Finding(_Section):
    """One number of the paper, and how ours is made: ``over`` divided by ``under``."""

    id: str
    experiment: str
    """Of the paper: what is left out when only others are asked for."""
    says: str
    figures: str = ""
    """The paper's numbers as they stand there."""
    paper: float | None = None
    """The same as one number that ours can stand beside."""
    metric: str = "rate"
    over: tuple[Term, ...] = ()
    under: tuple[Term, ...] = ()
    scale: float = 1.0
    below: float | None = None
    above: float | None = None
    absent: str = ""
    """Why this can't be measured here."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        for name in [self.metric, *(t.metric for t in (*self.over, *self.under) if t.metric)]:
            if name not in METRICS:
                raise ValueError(f"'{self.id}': unknown metric '{name}'")
        if not self.absent and (not self.over or (self.below is None and self.above is None)):
            raise ValueError(f"'{self.id}': 'over' and 'below' or 'above', or 'absent' is missing")
        return self


class _File(_Section):
    finding: tuple[Finding, ...] = Field(min_length=1)


@dataclass(frozen=True)
class Judged:
    """A finding with our value beside the paper's."""

    finding: Finding
    verdict: Verdict
    ours: Interval | None = None
    rounds: tuple[float, ...] = ()
    reason: str = ""
    """Why there is no value."""
    mind: tuple[str, ...] = ()
    """What weakens it."""

    @property
    def words(self) -> str:
        """The verdict, marked where something weakens it."""
        if self.verdict == "not measured":
            return f"not measured: {self.reason}"
        return f"{self.verdict} (weak)" if self.mind else self.verdict

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        finding = self.finding
        return {
            "id": finding.id,
            "says": finding.says,
            "paper": {"figures": finding.figures, "value": finding.paper},
            "ours": asdict(self.ours) if self.ours else None,
            "rounds": list(self.rounds),
            "verdict": self.verdict,
            "reason": self.reason,
            "mind": list(self.mind),
        }


def load(file: Path = FILE) -> tuple[Finding, ...]:
    """The findings of a file; BadInput if it is not as it should be."""
    try:
        return _File.model_validate(tomllib.loads(file.read_text())).finding
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadInput(f"{file}: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise BadInput(f"{file}: {place}: {first['msg']}") from None


def point_of(experiment: Experiment, at: Mapping[str, str | int]) -> Point:
    """The one point that fits.

    Raises:
        BadInput: none does, or several do.
    """
    points = experiment.points()
    for name, value in at.items():
        if value in (MOST, LEAST):
            pick = max if value == MOST else min
            value = pick(getattr(point, name) for point in points)
        points = [point for point in points if str(getattr(point, name)) == str(value)]
    if len(points) != 1:
        asked = ", ".join(f"{name} {value}" for name, value in at.items()) or "no more said"
        raise BadInput(f"{len(points)} points of '{experiment.name}' fit: {asked}")
    return points[0]


def judge(finding: Finding, found: Mapping[str, Results]) -> Judged:
    """Whether a finding holds in these results, by the experiments' names."""
    if finding.absent:
        return Judged(finding, "not measured", reason=finding.absent)
    terms = [(term, 1) for term in finding.over] + [(term, -1) for term in finding.under]
    values: list[dict[int, float]] = []
    mind: list[str] = []
    for term, power in terms:
        results = found.get(term.experiment)
        if results is None:
            return _absent(finding, f"experiment '{term.experiment}' was left out")
        try:
            samples = _samples(results, term)
        except BadInput as error:
            return _absent(finding, str(error))
        value = METRICS[term.metric or finding.metric].value
        by_round = {sample.round: value(sample) for sample in samples if sample.delivered}
        usable = {n: v**power for n, v in by_round.items() if v and math.isfinite(v)}
        if not usable:
            reasons = [reason for sample in samples for reason in sample.reasons]
            return _absent(finding, failure(results) or next(iter(reasons), "no run yet"))
        mind += weaknesses(samples, results.experiment.limits)
        values.append(usable)
    rounds = sorted(set.intersection(*map(set, values)))
    if not rounds:
        return _absent(finding, "no round has all that is needed")
    if len(rounds) < FEWEST_ROUNDS:
        mind.append(f"{len(rounds)} rounds can't support a verdict: {FEWEST_ROUNDS} can")
    products = [finding.scale * math.prod(each[n] for each in values) for n in rounds]
    ours = interval(products)
    return Judged(
        finding, _verdict(finding, ours), ours, tuple(products), mind=tuple(dict.fromkeys(mind))
    )


def judge_all(found: Mapping[str, Results], wanted: Sequence[str] = ()) -> list[Judged]:
    """Every finding, or those of the experiments that are wanted."""
    return [judge(each, found) for each in load() if not wanted or each.experiment in wanted]


def _samples(results: Results, term: Term) -> list[Sample]:
    point = point_of(results.experiment, term.at).id
    variant = str(Variant.parse(term.variant))
    if Variant.parse(term.variant) not in results.experiment.variants():
        raise BadInput(f"'{variant}' is no variant of '{results.experiment.name}'")
    return [s for s in results.samples() if (s.point, s.variant) == (point, variant)]


def _verdict(finding: Finding, ours: Interval) -> Verdict:
    """Where the whole interval lies."""
    below = math.inf if finding.below is None else finding.below
    above = -math.inf if finding.above is None else finding.above
    if above < ours.low and ours.high < below:
        return "holds"
    if ours.high <= above or ours.low >= below:
        return "does not hold"
    return "undecided"


def _absent(finding: Finding, reason: str) -> Judged:
    return Judged(finding, "not measured", reason=reason)
