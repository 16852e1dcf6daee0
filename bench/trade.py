"""The trade between throughput and order: one dot a variant."""

from collections.abc import Sequence
from typing import Any

from bench import plots
from bench.plots import Picture
from bench.table import Row

_LEAST = 1e-4
"""Share of late packets below which the axis is linear: it begins with none."""
_TICKS = {0: "none", 1e-4: "0.01%", 1e-3: "0.1%", 1e-2: "1%", 1e-1: "10%", 1: "100%"}


def picture(table: Sequence[Row], title: str) -> Picture:
    """Delivered packets over the share that was overtaken (RFC 4737), with the rates' intervals.

    The upper left corner is where one wants to be. Variants whose order was not seen are left out.
    """
    return Picture((9, 5), lambda figure: _fill(figure.subplots(), table, title))


def _fill(axis: Any, table: Sequence[Row], title: str) -> None:
    used: dict[str, int] = {}
    for row in table:
        if row.reordered is None:
            continue
        number = used[row.family] = used.get(row.family, -1) + 1
        shades = plots.SHADES[row.family]
        rate = row.rate
        axis.errorbar(
            [row.reordered],
            [rate.median],
            [[rate.median - rate.low], [rate.high - rate.median]],
            color=shades[number % len(shades)],
            marker=plots.MARKERS[number % len(plots.MARKERS)],
            markersize=7,
            linestyle="",
            elinewidth=0.8,
            capsize=2.5,
            label=row.variant,
            clip_on=False,
        )
    axis.set_xscale("symlog", linthresh=_LEAST)
    axis.set_xlim(0, 1)
    axis.set_xticks([*_TICKS], [*_TICKS.values()])
    axis.minorticks_off()
    axis.set_ylim(bottom=0)
    axis.grid(color=plots.GRID, linewidth=0.7)
    axis.set_xlabel("packets that arrived late (RFC 4737)", loc="left")
    axis.set_ylabel("million packets a second delivered", loc="bottom")
    axis.set_title(title)
    axis.legend(loc="upper left", bbox_to_anchor=(1.01, 1), handlelength=1, labelspacing=0.7)
