"""The report of ``overspray answers``: every table and plot, made from saved results alone.

Numbers come from the runs; the sentences that answer a question are people's, and stand in
``answers.toml`` beside the results (:mod:`bench.answers_words`).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import answers_words, frontier
from bench.analysis import METRICS, Row, Table, compare_runs
from bench.answers_words import Words
from bench.pictures import linked
from bench.quoted import filled
from bench.report import Report
from bench.results import EXPERIMENT, Results
from bench.stages_report import stages_section
from bench.suite import Part, failure
from bench.text import DASH, three, times, with_interval
from steering.errors import BadInput

COMMAND = "overspray answers --page"


@dataclass(frozen=True)
class Question:
    """One of the paper's open questions: its experiments, each with the figures it is about."""

    key: str
    title: str
    experiments: Mapping[str, tuple[str, ...]]


_FLOW = ("rate", "goodput", "reordered", "extent", "p99", "cpu")
_SHARED = ("others", "others-p50", "others-p99", "others-p99.9", "jain", "least", "cpu")
_COST = ("softirqs", "polls", "work", "switches", "wakeups", "p50", "p99", "cpu", "loss")
QUESTIONS = (
    Question(
        "one",
        "1. Is packet-level parallelism for a single flow feasible?",
        {"flow_udp": _FLOW, "flow_tcp": _FLOW, "bottleneck": ("rate", "cpu")},
    ),
    Question(
        "two",
        "2. How can the kernel isolate many flows better?",
        {
            "elephant": _SHARED,
            "equal": ("rate", *_SHARED[1:]),
            "neighbour": ("rate", "p50", "p99", "p99.9", "chase", "stream", "cpu"),
        },
    ),
    Question("three", "3. Can packets be further coalesced?", {"coalescing": _COST}),
)
_AGAINST = {"flow_udp": "rate", "flow_tcp": "goodput", "elephant": "others-p99", "equal": "rate"}
"""By experiment: the figure that is also shown as a ratio to its first baseline."""


def write(path: Path, chosen: Sequence[Part]) -> Path:
    """Write ``report.md`` and ``report.json`` from the results in a directory; the former's path.

    Raises:
        BadInput: a result is damaged, or the directory can't be written.
    """
    found = {part.name: Results.open(path / part.name) for part in chosen}
    report = path / "report.md"
    try:
        report.write_text(page(path, draw=True))
        plain = {name: list(_plain(results)) for name, results in found.items()}
        (path / "report.json").write_text(json.dumps(plain, indent=1) + "\n")
    except OSError as error:
        raise BadInput(f"can't write the report to '{path}': {error.strerror}") from None
    return report


def page(path: Path, *, draw: bool = False) -> str:
    """All three answers with all tables, from the results below ``path``; what is absent says so.

    ``draw`` draws the plots into the results; else those on disk are linked to.
    """
    words = answers_words.read(path)
    lines = ["# The paper's open questions, on this kernel", ""]
    lines += [
        f"Made by `{COMMAND} {path}` from the raw runs there. Medians over the rounds with 95 %",
        "intervals; veth, live frames, wire and receiver on the same host.",
    ]
    for question in QUESTIONS:
        answer = filled(words.get(question.key, Words()).whole(), path)
        lines += ["", f"## {question.title}", "", answer]
        for name, columns in question.experiments.items():
            lines += ["", *_experiment(path / name, columns, draw)]
    return "\n".join(lines) + "\n"


def _experiment(folder: Path, columns: Sequence[str], draw: bool) -> Iterator[str]:
    name = folder.name
    if not (folder / EXPERIMENT).is_file():
        yield f"`{name}`: not yet measured."
        return
    results = Results.open(folder)
    yield f"### {results.experiment.title}"
    yield ""
    yield " ".join(results.experiment.description.split())
    if not results.samples():
        yield f"\nNot yet measured: {failure(results) or 'no run yet'}."
        return
    report = Report(results)
    yield ""
    yield "; ".join(f"{fact}: {value}" for fact, value in report.facts()) + "."
    for table in report.tables:
        yield ""
        yield from _table(table, report, name, columns)
        if name == "coalescing":
            yield ""
            yield from targets(table)
    yield from linked(report, draw=draw)
    if results.profiles():
        yield from stages_section(results, draw=draw)
    invalid = sum(bool(sample.reasons) for sample in report.samples)
    if invalid:
        yield f"\n{invalid} of {len(report.samples)} runs are invalid; `overspray report` says why."


def _table(table: Table, report: Report, name: str, columns: Sequence[str]) -> Iterator[str]:
    shown = [column for column in columns if any(column in row.figures for row in table.rows)]
    metric, base = _AGAINST.get(name), report.experiment.baselines[0]
    heads = ["variant", *(f"{METRICS[c].label}, {METRICS[c].unit}".rstrip(", ") for c in shown)]
    heads += [f"{METRICS[metric].label} against `{base}`"] if metric in shown else []
    heads += ["p99, of that alone"] if name in ("elephant", "neighbour") else []
    yield f"**{table.title}**"
    yield ""
    yield f"| {' | '.join(heads)} |"
    yield f"| --- |{' ---: |' * (len(heads) - 1)}"
    for row in table.rows:
        cells = [f"`{row.variant}`"]
        cells += [with_interval(row.figures[c]) if c in row.figures else DASH for c in shown]
        if metric in shown:
            other = table.row(report.experiment.baseline_of(row.variant, base))
            cells.append(_ratio(other, row, metric, report))
        if name in ("elephant", "neighbour"):
            cells.append(_beside_alone(row, table, report, name))
        yield f"| {' | '.join(cells)} |"


def _ratio(base: Row | None, row: Row, metric: str, report: Report) -> str:
    if base is None or base is row:
        return DASH
    limits = report.experiment.limits
    found = compare_runs(base.samples, row.samples, metric=metric, limits=limits)
    return f"{times(found)} {found.verdict}" if found else DASH


def _beside_alone(row: Row, table: Table, report: Report, name: str) -> str:
    """A victim's p99 as a multiple of the same where it is alone."""
    points = {point.id: point for point in report.experiment.points()}
    here, metric = points[table.point], "others-p99" if name == "elephant" else "p99"
    for other in report.tables:
        there = points[other.point]
        alone = "heavy" not in there.arrivals.args and str(there.neighbour) == "none"
        if alone and (name == "elephant" or there.rate == here.rate):
            return _ratio(other.row(row.variant), row, metric, report) if other != table else DASH
    return DASH


def targets(table: Table) -> Iterator[str]:
    """What question 3 aims at, at one point: where ours lies against stock with the same knobs."""
    rows = [row for row in table.rows if frontier.shows(row)]
    ours = [row for row in rows if row.variant.family == "ours"]
    stock = [row for row in rows if row.variant.family != "ours"]
    if not ours or not stock:
        return
    edge = frontier.best(stock)
    beaten = [
        row
        for row in edge
        if any(all(a <= b for a, b in zip(frontier.place(o), frontier.place(row), strict=True))
               for o in ours)
    ]  # fmt: skip
    yield f"* Of stock's {len(edge)} points on the frontier ours lies below {len(beaten)}."
    for metric, words in (("work", "work units"), ("softirqs", "softirq entries"), ("p99", "p99")):
        ranked = [min(side, key=lambda r: _median(r, metric)) for side in (ours, stock)]
        best, other = (_median(row, metric) for row in ranked)
        ratio = three(other / best) if best else DASH
        names = " and ".join(
            f"`{row.variant.label}` {three(_median(row, metric))}" for row in ranked
        )
        yield f"* Least {words}, ours and stock's: {names} ({ratio} times)."


def _median(row: Row, metric: str) -> float:
    return row.figures[metric].median if metric in row.figures else float("inf")


def _plain(results: Results) -> Iterator[dict[str, object]]:
    if not results.samples():
        return
    for table in Report(results).tables:
        for row in table.rows:
            yield {
                "point": table.point,
                "variant": str(row.variant),
                "figures": {name: vars(found) for name, found in row.figures.items()},
            }
