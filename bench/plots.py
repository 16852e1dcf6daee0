"""Plots of a result, one row a variant, one panel a point; PNG and SVG from the files alone.

Colour is the variant's family, shape says whether packets are gathered; every horizontal axis
names its source, and sources never share a figure.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench import frontier, trade
from bench.analysis import METRICS, Row, Table
from bench.experiment import Experiment
from bench.plot_style import (
    FAINT,
    FAMILY_COLOURS,
    INK,
    KIND_COLOURS,
    PANELS,
    SOURCES,
    STAGE_COLOURS,
    STYLE,
    families,
    legend,
    look_of,
)
from bench.sample import CORE_KINDS
from bench.text import TIMES, three


@dataclass(frozen=True)
class Drawn:
    """A plot on disk: ``path`` with ``.png`` and ``.svg``."""

    name: str
    title: str
    path: Path


def draw(tables: Sequence[Table], experiment: Experiment, folder: Path) -> list[Drawn]:
    """Draw the experiment's plots into ``folder``; takes a few seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    groups = _groups(tables)
    for number, group in enumerate(groups):
        rows = [row for table in group for row in table.rows]
        for plot in experiment.plots:
            for name, title, shows, paint in _pictures(plot, experiment):
                if any(map(shows, rows)):
                    path = folder / (name if len(groups) == 1 else f"{name}-{number}")
                    paint(group, title, path)
                    drawn.append(Drawn(name, title, path))
    return drawn


_Picture = tuple[str, str, Callable[[Row], bool], Callable[[Sequence[Table], str, Path], None]]
"""Its name and title, which rows it can show, and how it is drawn."""


def _pictures(plot: str, experiment: Experiment) -> list[_Picture]:
    if plot == "trade":
        return [(plot, "Throughput against order", trade.shows, trade.figure)]
    if plot == "frontier":
        return [(plot, "Work a packet against latency", frontier.shows, frontier.figure)]
    return [
        (name, title, panel.shows, partial(_figure, panel))
        for name, title, panel in _panels(plot, experiment)
    ]


@dataclass(frozen=True)
class _Panel:
    """How one row is drawn at height y, and what the axis says."""

    label: str
    shows: Callable[[Row], bool]
    row: Callable[[Any, Row, float], None]
    finish: Callable[[Any], None]
    """Limits of the axis that all panels share, once all rows are drawn."""
    legend: Callable[[Sequence[Table]], list[tuple[str, dict[str, Any]]]]


def _panels(plot: str, experiment: Experiment) -> list[tuple[str, str, _Panel]]:
    if plot == "ratio":
        return [
            (f"ratio-{_slug(text)}", f"Delivered rate relative to {text}", _ratio(text, experiment))
            for text in experiment.baselines
        ]
    title, panel = {
        "throughput": ("Packets delivered", _throughput),
        "loss": ("Packets lost, by stage", _loss),
        "order": ("Packets overtaken by later ones", _order),
        "latency": ("Latency at that load: p50, p99, p99.9", _latency),
        "cpu": ("What the cores do", _cpu),
    }[plot]
    return [(plot, title, panel())]


def _groups(tables: Sequence[Table]) -> list[list[Table]]:
    """Tables that share a figure: those of one source, a few at a time."""
    groups = []
    for source in dict.fromkeys(table.source for table in tables):
        same = [table for table in tables if table.source == source]
        groups += [same[i : i + PANELS] for i in range(0, len(same), PANELS)]
    return groups


def _figure(panel: _Panel, tables: Sequence[Table], title: str, path: Path) -> None:
    """One figure: a panel for each table, a row for each variant, cases under a heading."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    variants = list(dict.fromkeys(row.variant for table in tables for row in table.rows))
    heights: dict[Any, float] = {}
    headings: dict[str, float] = {}
    y = 0.0
    for variant in variants:
        if variant.case not in headings:
            y += 0.35 if headings else 0
            headings[variant.case] = y
            y += 0.85
        heights[variant] = y
        y += 1
    with rc_context(STYLE):
        height = 0.235 * y + 1.5
        figure = Figure(figsize=(2.1 + 4.1 * len(tables), height), layout="constrained")
        axes = figure.subplots(1, len(tables), sharex=True, sharey=True, squeeze=False)[0]
        for axis, table in zip(axes, tables, strict=True):
            for row in table.rows:
                panel.row(axis, row, heights[row.variant])
            axis.set_title(table.title, pad=8)
            axis.set_xlabel(f"{panel.label}\n{SOURCES[table.source]}")
            axis.grid(axis="x", color="#e2e8f0", linewidth=0.7)
            axis.set_axisbelow(True)
            axis.set_ylim(y - 0.4, -0.6)
        first = axes[0]
        panel.finish(first)
        first.set_yticks([*heights.values(), *headings.values()])
        first.set_yticklabels([*(v.label for v in heights), *headings])
        for label in first.get_yticklabels()[len(heights) :]:
            label.set_fontweight("bold")
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
        legend(figure, panel.legend(tables))
        figure.savefig(path.with_suffix(".png"), dpi=140)
        # Laid out: not again, it takes longer than drawing.
        figure.set_layout_engine("none")
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})


def _throughput() -> _Panel:
    def row(axis: Any, row: Row, y: float) -> None:
        figure, look = row.figures["rate"], look_of(row)
        values = [METRICS["rate"].value(sample) for sample in row.samples]
        below = [y + 0.27] * len(values)
        axis.plot(values, below, ".", color=look["color"], alpha=0.45, markersize=3)
        axis.plot([figure.low, figure.high], [y, y], color=look["color"], linewidth=2.2)
        axis.plot(figure.median, y, **look)
        _note(axis, figure.high, y, three(figure.median))

    def finish(axis: Any) -> None:
        axis.set_xlim(0, axis.get_xlim()[1] * 1.08)

    return _Panel(
        "million packets a second: median, 95 % interval, rounds",
        lambda row: True,
        row,
        finish,
        families,
    )


def _ratio(baseline: str, experiment: Experiment) -> _Panel:
    margin = experiment.limits.margin

    def shows(row: Row) -> bool:
        found = row.against.get(baseline)
        return found is not None and found.ratio.low > 0

    def row(axis: Any, row: Row, y: float) -> None:
        if experiment.baseline_of(row.variant, baseline) == row.variant:
            _note(axis, 1, y, "baseline")
        if not shows(row):
            return
        found, look = row.against[baseline], look_of(row)
        axis.plot([found.ratio.low, found.ratio.high], [y, y], color=look["color"], linewidth=2.2)
        decided = found.verdict in ("better", "worse", "equivalent")
        axis.plot(found.ratio.median, y, **look | ({} if decided else {"markerfacecolor": "white"}))
        mark = " invalid" if found.verdict == "invalid" else ""
        _note(axis, found.ratio.high, y, f"{three(found.ratio.median)}{TIMES}{mark}")

    def finish(axis: Any) -> None:
        drawn = [x for one in axis.figure.axes for line in one.lines for x in line.get_xdata()]
        low, high = min([0.95, *drawn]), max([1.05, *drawn])
        for one in axis.figure.axes:
            one.axvspan(1 / (1 + margin), 1 + margin, color="#e2e8f0", zorder=0)
            one.axvline(1, color=FAINT, linewidth=1, zorder=0)
        if high / low > 3:
            axis.set_xscale("log", base=2)
            axis.set_xlim(low * 0.9, high * 1.45)
        else:
            axis.set_xlim(low - 0.05 * (high - low), high + 0.25 * (high - low))
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:.3g}{TIMES}")

    def legend(tables: Sequence[Table]) -> list[tuple[str, dict[str, Any]]]:
        undecided = {"marker": "o", "color": INK, "markerfacecolor": "white"}
        return [*families(tables), ("inconclusive or invalid", undecided)]

    label = f"times the rate of {baseline}: median of the rounds' ratios, 95 % interval"
    return _Panel(label, shows, row, finish, legend)


def _loss() -> _Panel:
    def row(axis: Any, row: Row, y: float) -> None:
        left = 0.0
        for name, share in _flat(row).items():
            axis.barh(y, share * 100, 0.62, left=left, color=_stage_colour(name))
            left += share * 100
        _note(axis, left, y, three(row.figures["loss"].median) if left else "0")

    def legend(tables: Sequence[Table]) -> list[tuple[str, dict[str, Any]]]:
        names = dict.fromkeys(n for table in tables for row in table.rows for n in _flat(row))
        return [(n, {"marker": "s", "color": _stage_colour(n), "markersize": 7}) for n in names]

    colours: dict[str, str] = {}

    def _stage_colour(name: str) -> str:
        return colours.setdefault(name, STAGE_COLOURS[len(colours) % len(STAGE_COLOURS)])

    return _Panel("% of the offered packets", lambda row: True, row, _widen, legend)


def _order() -> _Panel:
    def shows(row: Row) -> bool:
        return "reordered" in row.figures

    def row(axis: Any, row: Row, y: float) -> None:
        if not shows(row):
            return
        share, look = row.figures["reordered"], look_of(row)
        axis.plot([0, share.median], [y, y], color=look["color"], linewidth=1, alpha=0.5)
        axis.plot(share.median, y, **look)
        if share.median:
            late = row.figures["extent"].median
            _note(axis, share.median, y, f"99 % of them by ≤ {late:.0f}")
        else:
            _note(axis, 0, y, "in order")

    return _Panel("% of the packets", shows, row, _widen, families)


def _latency() -> _Panel:
    def shows(row: Row) -> bool:
        return "p50" in row.figures

    def row(axis: Any, row: Row, y: float) -> None:
        if not shows(row):
            return
        colour = FAMILY_COLOURS[row.variant.family]
        marks = {"p50": "o", "p99": "|", "p99.9": ">"}
        sizes = {"p50": 6, "p99": 8, "p99.9": 4.5}
        points = {name: row.figures[name].median for name in marks if name in row.figures}
        axis.plot(list(points.values()), [y] * len(points), color=colour, linewidth=1.4)
        for name, value in points.items():
            axis.plot(value, y, marks[name], color=colour, markersize=sizes[name])

    def finish(axis: Any) -> None:
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")

    return _Panel(
        "µs from the intended send time to the sink: ● p50, | p99, ▸ p99.9",
        shows,
        row,
        finish,
        families,
    )


def _cpu() -> _Panel:
    def row(axis: Any, row: Row, y: float) -> None:
        cores = row.cores
        height = 0.82 / max(1, len(cores))
        for index, shares in enumerate(cores.values()):
            left, place = 0.0, y - 0.41 + (index + 0.5) * height
            for kind in [*CORE_KINDS, *(set(shares) - set(CORE_KINDS))]:
                share = shares.get(kind, 0.0) * 100
                axis.barh(place, share, height * 0.86, left=left, color=_kind_colour(kind))
                left += share

    def finish(axis: Any) -> None:
        axis.set_xlim(0, 100)

    def legend(tables: Sequence[Table]) -> list[tuple[str, dict[str, Any]]]:
        used = {
            kind
            for table in tables
            for row in table.rows
            for shares in row.cores.values()
            for kind, share in shares.items()
            if share
        }
        ordered = [*(k for k in CORE_KINDS if k in used), *sorted(used - set(CORE_KINDS))]
        return [(k, {"marker": "s", "color": _kind_colour(k), "markersize": 7}) for k in ordered]

    def shows(row: Row) -> bool:
        return bool(row.cores)

    return _Panel(
        "% of the time; a bar a core, in the order of their numbers", shows, row, finish, legend
    )


def _kind_colour(kind: str) -> str:
    return KIND_COLOURS.get(kind, "#a78bfa")


def _flat(row: Row) -> dict[str, float]:
    return {f"{s}: {n}": share for s, names in row.drops.items() for n, share in names.items()}


def _note(axis: Any, x: float, y: float, text: str) -> None:
    axis.annotate(
        text, (x, y), xytext=(7, 0), textcoords="offset points", va="center", fontsize=7.5,
        color="#475569",
    )  # fmt: skip


def _widen(axis: Any) -> None:
    axis.set_xlim(0, max(axis.get_xlim()[1] * 1.25, 1))


def _slug(text: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in text).strip("-")
