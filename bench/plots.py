"""Pictures of an experiment: how fast each variant was, what the cores did, rates over an axis; PNG and SVG.

Colours keep apart for the colour-blind: the families' are Okabe and Ito's, the cores' Paul Tol's "muted".
"""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.statistics import Interval
from bench.table import TIMES, Family, Row, marked, spread, three

_FAMILIES = {
    "native": ("native, no overlay", "#8c8c8c"),
    "stock": ("stock Linux", "#e69f00"),
    "ours": ("overspray", "#0072b2"),
}
_KINDS = {
    "softirq": ("softirq", "#332288"),
    "cpumap": ("cpumap thread", "#44aa99"),
    "reader": ("reader", "#ddcc77"),
    "other": ("other", "#cc6677"),
    "wire": ("the wire", "#c4c9cf"),
}
"""What a core does, in the order of the stack; the rest is idle."""
_READER = "reader"
_INK, _FAINT, GRID = "#1f2933", "#9aa5b1", "#e4e7eb"
SHADES: dict[Family, tuple[str, ...]] = {
    "native": ("#8c8c8c", "#b5b5b5", "#5f6b76"),
    "stock": ("#e69f00", "#d55e00", "#a6761d", "#f0c75e"),
    "ours": ("#0072b2", "#56b4e9", "#009e73", "#7b6fd0"),
}
"""For lines: one family's hues are neighbours, and the marker tells those apart that share one."""
MARKERS = "osD^vPX<>*"
_BAR, _LABEL = 0.54, 0.4
"""Heights of a variant's bar and of its name above it, in rows."""
_IDLE = {"facecolor": "white", "edgecolor": _FAINT, "linewidth": 0.6, "clip_on": False}
_MOST_NAMED = 4
"""Cores a variant, beyond which their names would not fit."""
_DOT = {
    "linestyle": "",
    "marker": "o",
    "markersize": 3.4,
    "color": "white",
    "markeredgecolor": _INK,
    "markeredgewidth": 0.6,
}
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "font.family": "sans-serif",
    "text.parse_math": False,  # a path may hold a dollar
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "overspray",  # the same figures give the same file
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _FAINT,
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.borderpad": 0,
    "legend.handlelength": 1,
    "legend.handleheight": 0.9,
    "legend.columnspacing": 1.2,
}


@dataclass(frozen=True)
class Sent:
    """What a picture's words say was sent: ``payload`` bytes in each packet of ``flows`` UDP flows."""

    payload: int
    flows: int
    source: str = "veth and a generated wire, no network card"
    others: str = ""
    """What else is not as usual: ``batch 1, rate 200000``."""

    def __str__(self) -> str:
        flows = "one UDP flow" if self.flows == 1 else f"{self.flows} UDP flows"
        return f"{flows}, {self.payload} bytes of payload" + f", {self.others}" * bool(self.others)


@dataclass(frozen=True)
class Line:
    """One variant over an axis: where, and how many million packets a second."""

    variant: str
    family: Family
    points: tuple[tuple[str | float, Interval], ...]


@dataclass(frozen=True)
class Picture:
    """What can be drawn to files or as text, the same each time; ``size`` in inches."""

    size: tuple[float, float]
    fill: Callable[[Any], None]
    """Draws into a figure."""

    def save(self, path: Path) -> list[Path]:
        """Write ``path`` with .png and .svg added, and return both."""
        png, svg = (path.with_name(f"{path.name}.{kind}") for kind in ("png", "svg"))
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._drawn() as figure:
            figure.savefig(png, dpi=160, metadata={"Software": None})
            figure.savefig(svg, metadata={"Date": None, "Creator": None})
        return [png, svg]

    def svg(self) -> str:
        """As XML."""
        page = io.StringIO()
        with self._drawn() as figure:
            figure.savefig(page, format="svg", metadata={"Date": None, "Creator": None})
        return page.getvalue()

    @contextmanager
    def _drawn(self) -> Iterator[Any]:
        from matplotlib import rc_context, rcdefaults, rcParams
        from matplotlib.figure import Figure

        with rc_context():
            rcdefaults()  # whatever the user's matplotlibrc says
            rcParams.update(_STYLE)
            figure = Figure(figsize=self.size, facecolor="white", layout="constrained")
            self.fill(figure)
            yield figure


def draw(table: Sequence[Row], baseline: str, sent: Sent, path: Path) -> list[Path]:
    """Write ``path`` with .png and .svg added, and return both. ``table``: of `bench.table.rows`, not empty.

    The same rows give the same SVG, byte for byte.
    """

    def fill(figure: Any) -> None:
        rates, cores = figure.subplots(1, 2, sharey=True, width_ratios=(1.6, 1))
        _fill_rates(rates, table, baseline, sent)
        _draw_cores(cores, table)
        figure.suptitle(_title(table, sent), x=0.008, ha="left", fontsize=12, fontweight="bold")

    return Picture((11, _height(table)), fill).save(path)


def rates(table: Sequence[Row], baseline: str, sent: Sent) -> Picture:
    """The left half of `draw`: how fast each variant was."""
    return Picture(
        (9, _height(table) - 0.3), lambda figure: _fill_rates(figure.subplots(), table, baseline, sent)
    )


def cores(table: Sequence[Row]) -> Picture:
    """The right half of `draw`, with the variants' names: what each core did."""

    def fill(figure: Any) -> None:
        axis = figure.subplots()
        _draw_cores(axis, table)
        axis.set_yticks([])
        axis.set_ylim(len(table) - 0.6, -_BAR / 2 - _LABEL)
        for at, row in enumerate(table):
            _write(axis, marked(row), 0, at - _BAR / 2, (0, 2), va="bottom", ha="left")

    return Picture((9, _height(table) - 0.3), fill)


def lines(found: Sequence[Line], axis: str, title: str) -> Picture:
    """Delivered packets over the values of an axis, a line a variant, with their intervals."""
    return Picture((9, 4.6), lambda figure: _draw_lines(figure.subplots(), found, axis, title))


def _height(table: Sequence[Row]) -> float:
    return 1.8 + 0.58 * len(table)


def _draw_lines(axis: Any, found: Sequence[Line], name: str, title: str) -> None:
    """Numbers stand where they are, on a logarithmic scale where they span much; words side by side."""
    values = list(dict.fromkeys(value for line in found for value, _ in line.points))
    numbers = [value for value in values if not isinstance(value, str)]
    scaled = len(numbers) == len(values)
    where = {value: value if scaled else place for place, value in enumerate(values)}
    used: dict[Family, int] = {}
    for line in found:
        number = used[line.family] = used.get(line.family, -1) + 1
        shades = SHADES[line.family]
        at = [where[value] for value, _ in line.points]
        middle = [each.median for _, each in line.points]
        axis.errorbar(
            at,
            middle,
            [
                [each.median - each.low for _, each in line.points],
                [each.high - each.median for _, each in line.points],
            ],
            color=shades[number % len(shades)],
            marker=MARKERS[number % len(MARKERS)],
            markersize=5,
            linewidth=1.6,
            elinewidth=0.8,
            capsize=2.5,
            label=line.variant,
        )
    if scaled and min(numbers) > 0 and max(numbers) > 20 * min(numbers):
        axis.set_xscale("log")
        axis.minorticks_off()
    axis.set_xticks([where[value] for value in values], [str(value) for value in values])
    axis.set_ylim(bottom=0)
    axis.grid(axis="y", color=GRID, linewidth=0.7)
    axis.set_xlabel(name, loc="left")
    axis.set_ylabel("million packets a second delivered", loc="bottom")
    axis.set_title(title)
    axis.legend(loc="upper left", bbox_to_anchor=(1.01, 1), handlelength=2, labelspacing=0.7)


def _title(table: Sequence[Row], sent: Sent) -> str:
    flows = "One UDP flow" if sent.flows == 1 else f"{sent.flows} UDP flows"
    counts = sorted(len(row.rates) for row in table)
    least, most = counts[0], counts[-1]
    rounds = f"{most} round{'s' * (most > 1)}" if least == most else f"{least} to {most} rounds"
    return f"{flows} of {sent.payload}-byte payloads, {rounds}: {sent.source}"


def _fill_rates(axis: Any, table: Sequence[Row], baseline: str, sent: Sent) -> None:
    _draw_rates(axis, table, baseline)
    axis.set_xlabel(f"million packets a second delivered ({sent})", loc="left")
    axis.set_ylim(len(table) - 0.6, -_BAR / 2 - _LABEL)


def _draw_rates(axis: Any, table: Sequence[Row], baseline: str) -> None:
    """Bars with whiskers, a dot for each round, and the ratios in a column at the right edge."""
    for at, row in enumerate(table):
        fastest = max(row.rate.high, *row.rates)
        axis.barh(at, row.rate.median, _BAR, color=_FAMILIES[row.family][1], alpha=0.4 if row.invalid else 1)
        axis.plot(
            [row.rate.low, row.rate.high], [at, at], color=_INK, linewidth=1.3, marker="|", markersize=7
        )
        axis.plot(row.rates, [at + _BAR * 0.3] * len(row.rates), **_DOT)
        _write(axis, marked(row), 0, at - _BAR / 2, (0, 2), va="bottom", ha="left")
        _write(axis, three(row.rate.median), fastest, at, (6, 0), fontweight="bold")
        ratio = "baseline" if row.variant == baseline else spread(row.ratio, TIMES)
        axis.text(1, at, ratio, transform=axis.get_yaxis_transform(), ha="right", va="center")
    most = max(max(row.rate.high, *row.rates) for row in table) or 1
    axis.set_xlim(0, 1.55 * most)
    axis.set_xticks([tick for tick in axis.get_xticks() if tick <= most])  # none below the ratios
    axis.set_yticks([])
    axis.grid(axis="x", color=GRID, linewidth=0.7)
    axis.set_title(f"Delivered: median, interval, each round; times {baseline} at the right", pad=24)
    present = {row.family for row in table}
    used = [look for name, look in _FAMILIES.items() if name in present]
    _legend(axis, [(label, {"color": colour}) for label, colour in used])


def _draw_cores(axis: Any, table: Sequence[Row]) -> None:
    """For each variant a bar a core, stacked by what it did."""
    for at, row in enumerate(table):
        height = _BAR / max(1, len(row.cores))
        for index, (core, shares) in enumerate(row.cores.items()):
            y, left = at - _BAR / 2 + (index + 0.5) * height, 0.0
            axis.barh(y, 100, 0.86 * height, **_IDLE)
            for kind, share in by_kind(shares).items():
                axis.barh(y, 100 * share, 0.86 * height, left=100 * left, color=_KINDS[kind][1])
                left += share
            if len(row.cores) <= _MOST_NAMED:
                _write(axis, f"core {core}", 0, y, (-4, 0), ha="right", fontsize=7.5)
    axis.set_xlim(0, 100)
    axis.set_xlabel("% of each core's time, mean of the rounds", loc="left")
    axis.set_title("How each core spent its time", pad=24)
    reads = any(shares.get(_READER) for row in table for shares in row.cores.values())
    looks = [look for kind, look in _KINDS.items() if kind != _READER or reads]
    _legend(axis, [*((label, {"color": colour}) for label, colour in looks), ("idle", _IDLE)])


def by_kind(shares: Mapping[str, float]) -> dict[str, float]:
    """A core's shares by the kinds that are drawn, in their order; without idle, and without a reader's where
    there is none."""
    known = {kind: shares.get(kind, 0.0) for kind in _KINDS if kind != _READER or shares.get(kind)}
    known["other"] += sum(share for kind, share in shares.items() if kind not in (*_KINDS, "idle"))
    return known


def _write(axis: Any, text: str, x: float, y: float, offset: tuple[float, float], **look: Any) -> None:
    """Text beside a point of the data, ``offset`` points away."""
    axis.annotate(text, (x, y), offset, textcoords="offset points", **{"va": "center", **look})


def _legend(axis: Any, entries: Sequence[tuple[str, dict[str, Any]]]) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(label=label, **look) for label, look in entries]
    axis.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(handles))
