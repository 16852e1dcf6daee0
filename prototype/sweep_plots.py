"""Plots of a sweep: throughput, order and latency along its longest axis, hatched where the model
has never been compared with a measurement."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prototype.sweep import by_variant

VALIDATED_CORES = 2
"""The lab that the model was compared with has so many (docs/twin.md)."""
_AXES = ("cores", "payload", "flows", "rate")


@dataclass(frozen=True)
class _Figure:
    name: str
    label: str
    value: Callable[[dict[str, Any]], float]


_FIGURES = (
    _Figure("throughput", "delivered, Mpps", lambda row: row["rate_pps"] / 1e6),
    _Figure("order", "overtaken, %", lambda row: 100 * row["order"].get("reordered", 0.0)),
    _Figure("latency", "latency p99, µs", lambda row: row["latency"]["p99"] / 1e3),
)


def longest_axis(samples: Sequence[dict[str, Any]]) -> str:
    """The axis that has most values, cores first."""
    counts = {axis: len({str(row["point"][axis]) for row in samples}) for axis in _AXES}
    return max(_AXES, key=lambda axis: counts[axis])


def draw(samples: Sequence[dict[str, Any]], title: str, folder: Path) -> list[Path]:
    """One SVG a figure; of the other axes the first value is drawn."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    axis = longest_axis(samples)
    first = samples[0]["point"]
    others = [name for name in _AXES if name != axis]
    shown = [row for row in samples if all(row["point"][n] == first[n] for n in others)]
    folder.mkdir(exist_ok=True)
    paths = []
    for each in _FIGURES:
        figure, axes = plt.subplots(figsize=(6.4, 4), dpi=110)
        for name, rows in by_variant(shown):
            xs = [row["point"][axis] for row in rows]
            axes.plot(xs, [each.value(row) for row in rows], "o-", markersize=4, label=name)
        places = sorted({row["point"][axis] for row in shown}, key=float)
        if axis != "rate" or all(isinstance(place, float) for place in places):
            axes.set_xscale("log", base=2)
            axes.set_xticks(places, [f"{place:g}" for place in places])
        _hatch(axes, axis, shown)
        fixed = ", ".join(f"{name} {first[name]}" for name in others)
        axes.set(xlabel=axis, ylabel=each.label, title=f"{title} (simulated)\n{fixed}")
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, fontsize=8)
        figure.tight_layout()
        paths.append(folder / f"{each.name}.svg")
        figure.savefig(paths[-1])
        plt.close(figure)
    return paths


def _hatch(axes: Any, axis: str, shown: Sequence[dict[str, Any]]) -> None:
    """Where no measurement stands behind the model."""
    low, high = axes.get_xlim()
    if axis == "cores":
        low = max(low, VALIDATED_CORES * 1.05)
    elif shown[0]["point"]["cores"] <= VALIDATED_CORES:
        return
    if low < high:
        look = {"facecolor": "none", "edgecolor": "0.8", "hatch": "//", "linewidth": 0}
        axes.axvspan(low, high, zorder=0, label="not validated", **look)
        axes.set_xlim(right=high)
