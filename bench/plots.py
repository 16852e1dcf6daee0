"""One picture of an experiment: how fast each variant was, and what the cores did; PNG and SVG.

Colours keep apart for the colour-blind: the families' are Okabe and Ito's, the cores' Paul Tol's "muted".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.table import TIMES, Row, marked, spread, three

_FAMILIES = {
    "native": ("native, no overlay", "#8c8c8c"),
    "stock": ("stock Linux", "#e69f00"),
    "ours": ("overspray", "#0072b2"),
}
_KINDS = {
    "softirq": ("softirq", "#332288"),
    "cpumap": ("cpumap thread", "#44aa99"),
    "other": ("other", "#cc6677"),
    "wire": ("the wire", "#c4c9cf"),
}
"""What a core does, in the order of the stack; the rest is idle."""
_INK, _FAINT = "#1f2933", "#9aa5b1"
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

    def __str__(self) -> str:
        flows = "one UDP flow" if self.flows == 1 else f"{self.flows} UDP flows"
        return f"{flows}, {self.payload} bytes of payload"


def draw(table: Sequence[Row], baseline: str, sent: Sent, path: Path) -> list[Path]:
    """Write ``path`` with .png and .svg added, and return both. ``table``: of `bench.table.rows`, not empty.

    The same rows give the same SVG, byte for byte.
    """
    from matplotlib import rc_context, rcdefaults, rcParams
    from matplotlib.figure import Figure

    png, svg = (path.with_name(f"{path.name}.{kind}") for kind in ("png", "svg"))
    path.parent.mkdir(parents=True, exist_ok=True)
    with rc_context():
        rcdefaults()  # whatever the user's matplotlibrc says
        rcParams.update(_STYLE)
        figure = Figure(figsize=(11, 1.8 + 0.58 * len(table)), facecolor="white", layout="constrained")
        rates, cores = figure.subplots(1, 2, sharey=True, width_ratios=(1.6, 1))
        _draw_rates(rates, table, baseline)
        _draw_cores(cores, table)
        rates.set_xlabel(f"million packets a second delivered ({sent})", loc="left")
        rates.set_ylim(len(table) - 0.6, -_BAR / 2 - _LABEL)
        figure.suptitle(_title(table, sent), x=0.008, ha="left", fontsize=12, fontweight="bold")
        figure.savefig(png, dpi=160, metadata={"Software": None})
        figure.savefig(svg, metadata={"Date": None, "Creator": None})
    return [png, svg]


def _title(table: Sequence[Row], sent: Sent) -> str:
    flows = "One UDP flow" if sent.flows == 1 else f"{sent.flows} UDP flows"
    counts = sorted(len(row.rates) for row in table)
    least, most = counts[0], counts[-1]
    rounds = f"{most} round{'s' * (most > 1)}" if least == most else f"{least} to {most} rounds"
    return f"{flows} of {sent.payload}-byte payloads, {rounds}: {sent.source}"


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
    axis.grid(axis="x", color="#e4e7eb", linewidth=0.7)
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
    _legend(axis, [*((label, {"color": colour}) for label, colour in _KINDS.values()), ("idle", _IDLE)])


def by_kind(shares: Mapping[str, float]) -> dict[str, float]:
    """A core's shares by the kinds that are drawn, in their order; idle is left out."""
    known = {kind: shares.get(kind, 0.0) for kind in _KINDS}
    known["other"] += sum(share for kind, share in shares.items() if kind not in (*_KINDS, "idle"))
    return known


def _write(axis: Any, text: str, x: float, y: float, offset: tuple[float, float], **look: Any) -> None:
    """Text beside a point of the data, ``offset`` points away."""
    axis.annotate(text, (x, y), offset, textcoords="offset points", **{"va": "center", **look})


def _legend(axis: Any, entries: Sequence[tuple[str, dict[str, Any]]]) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(label=label, **look) for label, look in entries]
    axis.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(handles))
