"""A report from the files of a result alone: markdown, or one self-contained HTML page."""

import base64
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.analysis import METRICS, Row, Table, tables
from bench.experiment import Experiment
from bench.fingerprint import changes, steal_between
from bench.plot_style import SOURCES
from bench.plots import Drawn
from bench.results import Results
from bench.sample import Sample
from bench.text import DASH, three, times, with_interval
from steering.errors import BadInput

# Beside every rate: what it costs. The order of the columns.
_COLUMNS = (
    ("goodput", "Gbit/s"),
    ("merged", "segments/packet"),
    ("back", "late after GRO, per 10⁴"),
    ("late", "late at the socket, per 10⁴"),
    ("acks", "ACKs, per 10⁴"),
    ("sacks", "SACKs, per 10⁴"),
    ("resent", "sent again, per 10⁴"),
    ("spurious", "for nothing, per 10⁴"),
    ("cwnd", "cwnd, KiB"),
    ("offered", "offered, Mpps"),
    ("loss", "lost, %"),
    ("reordered", "overtaken, %"),
    ("extent", "late by, packets"),
    ("buffer", "buffer, packets"),
    ("p50", "p50, µs"),
    ("p99", "p99, µs"),
    ("p99.9", "p99.9, µs"),
    ("cpu", "CPU, ns/packet"),
    ("softirqs", "softirqs/packet"),
    ("wire", "wire, %"),
)
_STREAM_COLUMNS = (
    *("goodput", "merged", "back", "late", "acks", "sacks", "resent", "spurious", "cwnd", "cpu"),
)
_MARKDOWN_COLUMNS = ("loss", "reordered", "extent", "p50", "p99", "cpu", "softirqs")

_OBSERVERS_AT_MOST = 0.03
"""Share of a packet's CPU time above which counting is warned about."""


@dataclass(frozen=True)
class Report:
    """What a result says, ready to be laid out."""

    results: Results

    @cached_property
    def experiment(self) -> Experiment:
        """The experiment as it ran."""
        return self.results.experiment

    @cached_property
    def samples(self) -> list[Sample]:
        """Every run."""
        found = self.results.samples()
        if not found:
            raise BadInput(f"'{self.results.path}' has no runs yet: nothing to report")
        return found

    @cached_property
    def tables(self) -> list[Table]:
        """A table for each point."""
        return tables(self.samples, self.experiment)

    @cached_property
    def host(self) -> dict[str, Any]:
        """The host's fingerprint before the first run; empty if there is none."""
        return next(iter(self.results.fingerprints("before")), {})

    def facts(self) -> list[tuple[str, str]]:
        """What one asks first of a result: where, when, how often."""
        experiment, host = self.experiment, self.host
        sources = " and ".join(SOURCES[s] for s in dict.fromkeys(t.source for t in self.tables))
        rounds = max(len(row.samples) for table in self.tables for row in table.rows)
        started = min(sample.started for sample in self.samples)
        facts = [
            ("packets from", sources),
            ("rounds", f"{rounds}, each variant once a round, in random order (seed "
             f"{experiment.seed})"),
            ("a run", f"{experiment.seconds:g} s after {experiment.warmup:g} s of warm-up"),
            ("measured", time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(started))),
        ]  # fmt: skip
        if host:
            cores = len(host.get("cores", []))
            virtual = ", virtual" if host.get("virtual") else ""
            facts += [
                ("host", f"{host.get('cpu')}, {cores} cores{virtual}"),
                ("kernel", str(host.get("kernel"))),
                ("overspray", str(host.get("commit") or "unknown commit")),
            ]
        if share := self.observers():
            facts.append(("observers", f"at most {share[0]:.1%} of a packet's CPU ({share[1]})"))
        return facts

    def observers(self) -> tuple[float, str] | None:
        """The largest share of a packet's CPU time that counting took, and where."""
        point, costs = self.results.own_cost()
        shares = [
            (own / (cpu.median - own), f"{row.variant} at {table.title}")
            for table in self.tables
            for row in table.rows
            if table.point == point
            and (own := costs.get(str(row.variant))) is not None
            and (cpu := row.figures.get("cpu")) is not None
            and cpu.median > own
        ]
        return max(shares, default=None)

    def warnings(self) -> list[str]:
        """What weakens the result, most serious first; each once."""
        return list(dict.fromkeys(self._warnings()))

    def _warnings(self) -> Iterator[str]:
        missing = self.experiment.runs() - len(self.samples)
        if missing > 0:
            yield f"{missing} of {self.experiment.runs()} runs are missing: it was not finished"
        for table in self.tables:
            for row in table.rows:
                for reason in row.reasons:
                    yield f"invalid: {row.variant} at {table.title}: {reason}"
        for table in self.tables:
            for row in table.rows:
                # The head of the table only: one line a comparison would bury the rest.
                head = self.experiment.baselines[0]
                for warning in row.against[head].warnings if head in row.against else ():
                    yield f"{row.variant} against {head} at {table.title}: {warning}"
        share = self.observers()
        if share and share[0] > _OBSERVERS_AT_MOST:
            yield f"{share[1]}: the observers took {share[0]:.1%} of a packet's CPU time"
        before, after = (self.results.fingerprints(when) for when in ("before", "after"))
        for one, other in zip(before, after, strict=False):
            yield from (f"the host changed while it measured: {c}" for c in changes(one, other))
            stolen = steal_between(one, other)
            if stolen is not None and stolen > self.experiment.limits.steal:
                yield f"{stolen:.1%} of the cores' time was stolen by the hypervisor"
        if not before or not after:
            yield "no fingerprint of the host before and after"

    def answers(self) -> list[tuple[Table, list[Row]]]:
        """For each point, our best variant of each case."""
        cases = dict.fromkeys(variant.case for variant in self.experiment.variants())
        found = [
            (table, [row for case in cases if (row := table.best_of_ours(case))])
            for table in self.tables
        ]
        return [(table, rows) for table, rows in found if rows]


def markdown(report: Report) -> str:
    """Tables for a README: one for each point, medians with intervals."""
    lines = [f"## {report.experiment.title}", ""]
    lines += ["; ".join(f"{name}: {value}" for name, value in report.facts()) + ".", ""]
    for table in report.tables:
        lines += [f"### {table.title} ({SOURCES[table.source]})", ""]
        baselines = [b for b in report.experiment.baselines if _used(table, b)]
        heads = ["variant", "delivered, Mpps", *(f"against {b}" for b in baselines)]
        heads += [_head(name) for name in _columns(table)]
        lines += [_markdown_row(heads), _markdown_row(["---", *["---:"] * (len(heads) - 1)])]
        lines += [_markdown_row(_cells(row, table, baselines)) for row in table.rows]
        lines.append("")
    warnings = report.warnings()
    if warnings:
        lines += ["Mind:", "", *(f"- {warning}" for warning in warnings), ""]
    return "\n".join(lines).rstrip("\n")


def html(report: Report, plots: Sequence[Drawn]) -> str:
    """One page that needs nothing else: styles and images (SVG) are in it."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("bench"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(three=three, interval=with_interval, times=times)
    environment.filters["tagged"] = lambda name, tag: (tag, name)
    return environment.get_template("report.html.j2").render(
        report=report,
        experiment=report.experiment,
        sources=SOURCES,
        metrics=METRICS,
        columns=[name for name, _ in _COLUMNS],
        has=_has,
        head=_head,
        used=_used,
        dash=DASH,
        drops=_drops,
        names=_names,
        event=_event,
        setting=_setting,
        plots=[(plot, _inline(plot.path.with_suffix(".svg"))) for plot in plots],
    )


def write(results: Results, output: Path) -> Path:
    """Draw the plots into ``output/plots`` and write ``output/report.html``; its path.

    Raises:
        BadInput: the result is damaged or empty, or ``output`` can't be written.
    """
    from bench.plots import draw

    report = Report(results)
    try:
        output.mkdir(parents=True, exist_ok=True)
        page = html(report, draw(report.tables, report.experiment, output / "plots"))
        path = output / "report.html"
        path.write_text(page)
    except OSError as error:
        raise BadInput(f"can't write the report to '{output}': {error.strerror}") from None
    return path


def _cells(row: Row, table: Table, baselines: Sequence[str]) -> list[str]:
    cells = [f"`{row.variant}`", with_interval(row.figures["rate"])]
    for baseline in baselines:
        found = row.against.get(baseline)
        cells.append(f"{times(found)} {found.verdict}" if found else DASH)
    for name in _columns(table):
        figure = row.figures.get(name)
        cells.append(three(figure.median) if figure else DASH)
    return cells


def _columns(table: Table) -> list[str]:
    """What the markdown shows beside the rates, of datagrams or of streams."""
    names = _STREAM_COLUMNS if _has(table, "resent") else _MARKDOWN_COLUMNS
    return [name for name in names if _has(table, name)]


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _head(name: str) -> str:
    return dict(_COLUMNS)[name]


def _has(table: Table, name: str) -> bool:
    return any(name in row.figures for row in table.rows)


def _used(table: Table, baseline: str) -> bool:
    return any(baseline in row.against for row in table.rows)


def _drops(table: Table) -> list[tuple[str, str]]:
    """Stages and names under which anything was lost at a point."""
    pairs = ((stage, name) for row in table.rows for stage, of in row.drops.items() for name in of)
    return list(dict.fromkeys(pairs))


def _names(table: Table, part: str) -> list[str]:
    """Keys of the samples' dictionary ``part``, in their order."""
    samples = (sample for row in table.rows for sample in row.samples)
    return list(dict.fromkeys(name for sample in samples for name in getattr(sample, part)))


def _event(row: Row, part: str, name: str) -> float | None:
    """Median over the rounds of one entry of the dictionary ``part``; None if no run has it."""
    found = [getattr(s, part)[name] for s in row.samples if name in getattr(s, part)]
    return statistics.median(found) if found else None


def _setting(row: Row, name: str) -> str:
    """What was in effect; several values when it was not the same in all rounds."""
    values = (sample.settings.get(name, DASH) for sample in row.samples)
    return " / ".join(dict.fromkeys(values))


def _inline(path: Path) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(path.read_bytes()).decode()
