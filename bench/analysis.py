"""From raw runs to rows of a table: figures with intervals, and comparisons with baselines."""

import statistics as plain
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.experiment import Experiment, Limits
from bench.metrics import METRICS as METRICS
from bench.sample import Sample
from bench.statistics import Comparison, Interval, compare, interval
from bench.variant import Variant


@dataclass(frozen=True)
class Row:
    """One variant at one point."""

    variant: Variant
    samples: tuple[Sample, ...]
    """In the order of the rounds."""
    figures: dict[str, Interval]
    """By name of the metric, over the rounds; one that no run has is left out."""
    against: dict[str, Comparison]
    """Comparison of the delivered rate, by the text of the baseline."""

    @property
    def drops(self) -> dict[str, dict[str, float]]:
        """Median share of the offered packets lost, by stage and name; nothing lost left out."""
        shares: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for sample in self.samples:
            for stage, names in sample.drops.items():
                for name, packets in names.items():
                    shares[stage][name].append(packets / max(1, sample.offered))
        runs = len(self.samples)
        return {
            stage: found
            for stage, names in shares.items()
            if (found := {name: m for name, each in names.items() if (m := _median(each, runs))})
        }

    @property
    def cores(self) -> dict[int, dict[str, float]]:
        """Median share of each core's time by kind."""
        return {
            core: {
                kind: plain.median(s.cores.get(core, {}).get(kind, 0.0) for s in self.samples)
                for kind in sorted({k for s in self.samples for k in s.cores.get(core, {})})
            }
            for core in sorted({core for s in self.samples for core in s.cores})
        }

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why runs of this variant must not be used, with their rounds."""
        return run_reasons(self.samples)


@dataclass(frozen=True)
class Table:
    """All variants at one point, in the order of the experiment."""

    source: str
    point: str
    """The point's id, as the samples have it."""
    title: str
    """The same for people."""
    rows: tuple[Row, ...]

    def row(self, variant: Variant) -> Row | None:
        """The row of a variant, if it ran."""
        return next((row for row in self.rows if row.variant == variant), None)

    def by_case(self) -> dict[str, list[Row]]:
        """The rows under their cases, both in the order of the experiment."""
        cases = dict.fromkeys(row.variant.case for row in self.rows)
        return {case: [row for row in self.rows if row.variant.case == case] for case in cases}

    def best_of_ours(self, case: str) -> Row | None:
        """Our variant with the highest median rate in a case; chosen on the data it reports."""
        ours = [r for r in self.rows if r.variant.family == "ours" and r.variant.case == case]
        return max(ours, key=lambda row: row.figures["rate"].median, default=None)


def tables(samples: Iterable[Sample], experiment: Experiment) -> list[Table]:
    """One table for each point (and source) that has runs, in the order of the experiment."""
    groups: dict[tuple[str, str], dict[str, list[Sample]]] = defaultdict(lambda: defaultdict(list))
    for sample in samples:
        groups[sample.source, sample.point][sample.variant].append(sample)
    titles = {point.id: point.title for point in experiment.points()}
    ranked = sorted(groups, key=lambda key: (key[0], _rank(list(titles), key[1])))
    return [
        Table(source, point, titles.get(point, point), _rows(groups[source, point], experiment))
        for source, point in ranked
    ]


def compare_runs(
    a: Iterable[Sample], b: Iterable[Sample], *, metric: str = "rate", limits: Limits | None = None
) -> Comparison | None:
    """Compare variant b with a by the rounds that both have; None without such a round.

    The verdict is ``invalid`` with the runs' own reasons, and when more than ``limits.steal`` of
    the time was stolen or others took more than ``limits.other`` of a core (medians of the rounds).
    """
    limits = limits or Limits()
    one, other = ({s.round: s for s in runs} for runs in (a, b))
    value = METRICS[metric].value
    both = [
        (one[n], other[n])
        for n in sorted(one.keys() & other.keys())
        if value(one[n]) is not None and value(other[n]) is not None
    ]
    if not both:
        return None
    left, right = zip(*both, strict=True)
    return compare(
        [value(s) or 0.0 for s in left],
        [value(s) or 0.0 for s in right],
        margin=limits.margin,
        better=METRICS[metric].better,
        invalid=weaknesses(left, limits) + weaknesses(right, limits),
    )


def run_reasons(samples: Sequence[Sample]) -> tuple[str, ...]:
    """Reasons of these runs of one variant, each once with the rounds that have it."""
    rounds: dict[str, list[int]] = defaultdict(list)
    for sample in samples:
        for reason in sample.reasons:
            rounds[reason].append(sample.round)
    return tuple(
        f"{reason} ({_named(numbers, len(samples))})" for reason, numbers in rounds.items()
    )


def figures(samples: Sequence[Sample]) -> dict[str, Interval]:
    """Median and interval of every metric that the runs have."""
    found = {}
    for name, metric in METRICS.items():
        values = [v for s in samples if (v := metric.value(s)) is not None]
        if values:
            found[name] = interval(values)
    return found


def _rows(runs: Mapping[str, list[Sample]], experiment: Experiment) -> tuple[Row, ...]:
    order = [str(variant) for variant in experiment.variants()]
    by_round = {
        text: tuple(sorted(runs[text], key=lambda sample: sample.round))
        for text in sorted(runs, key=lambda text: _rank(order, text))
    }
    rows = []
    for text, samples in by_round.items():
        variant = Variant.parse(text)
        against = {}
        for baseline in experiment.baselines:
            base = experiment.baseline_of(variant, baseline)
            if base != variant and str(base) in by_round:
                found = compare_runs(by_round[str(base)], samples, limits=experiment.limits)
                if found:
                    against[baseline] = found
        rows.append(Row(variant, samples, figures(samples), against))
    return tuple(rows)


def weaknesses(samples: Sequence[Sample], limits: Limits) -> tuple[str, ...]:
    """Why these runs of one variant must not be used: their own reasons, and the host's noise."""
    noise = (
        (limits.steal, "of the time stolen by the hypervisor", [s.steal for s in samples]),
        (limits.other, "of a core's time taken by other processes", [s.disturbed for s in samples]),
    )
    reasons = [
        *run_reasons(samples),
        *(
            f"{share:.1%} {what}"
            for most, what, all_ in noise
            if (share := plain.median(all_)) > most
        ),
    ]
    return tuple(f"{samples[0].variant}: {reason}" for reason in reasons)


def _median(values: list[float], runs: int) -> float:
    return plain.median([*values, *[0.0] * (runs - len(values))])


def _rank(order: Sequence[str], text: str) -> tuple[int, str]:
    return (order.index(text) if text in order else len(order), text)


def _named(rounds: Sequence[int], runs: int) -> str:
    if len(rounds) == runs:
        return "every round"
    return f"round{'s' if len(rounds) > 1 else ''} {', '.join(map(str, rounds))}"
