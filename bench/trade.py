"""The picture of a trade: packets delivered against packets overtaken, a point for each variant."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

from bench.analysis import Row, Table
from bench.plot_style import FAINT, SOURCES, look_of, panels

_SPLIT = 0.05
"""Up to this share of packets overtaken, in percent, the axis is linear: 0 has a place on it."""
_LINE = 0.034
"""Height of a line of text, as a share of the panel."""
_WIDE = 60
"""Width of a label, as a factor of the logarithmic axis: nearer ones share a column."""
_TITLE = 52
"""Characters of a panel's title that stand beside each other."""


def shows(row: Row) -> bool:
    """Whether a variant has both figures."""
    return "rate" in row.figures and "reordered" in row.figures


def figure(tables: Sequence[Table], title: str, path: Path) -> None:
    """One panel for each table; see :func:`bench.plot_style.panels`."""
    panels(tables, title, path, _panel)


def _panel(axis: Any, table: Table) -> None:
    rows = [row for row in table.rows if shows(row)]
    axis.set_title("\n".join(wrap(table.title, _TITLE)), pad=8)
    axis.set_xscale("symlog", linthresh=_SPLIT)
    axis.set_xlim(-_SPLIT / 3, 3000)
    axis.set_xticks([0, 0.1, 1, 10, 100], ["0", "0.1", "1", "10", "100"])
    axis.set_ylim(0, 1.12 * max(row.figures["rate"].median for row in rows))
    axis.set_xlabel(f"packets overtaken, %\n{SOURCES[table.source]}")
    axis.set_ylabel("packets delivered, Mpps")
    axis.grid(color="#e2e8f0", linewidth=0.7)
    axis.set_axisbelow(True)
    for row in rows:
        rate, order = row.figures["rate"], row.figures["reordered"].median
        shape = look_of(row)
        axis.plot(
            [order, order], [rate.low, rate.high], color=shape["color"], linewidth=1, alpha=0.35
        )
        axis.plot([order], [rate.median], linestyle="", **shape)
    _names(axis, rows)


def label(row: Row, rows: Sequence[Row]) -> str:
    """What stands beside a row's point: its case too where there are several."""
    several = len({each.variant.case for each in rows}) > 1
    return f"{row.variant.case} {row.variant.label}" if several else row.variant.label


def _names(axis: Any, rows: Sequence[Row]) -> None:
    """A label beside each point, moved apart where they would lie on each other."""
    top = axis.get_ylim()[1]
    for column in _columns(rows):
        room = float("inf")
        for row in column:
            x, y = row.figures["reordered"].median, row.figures["rate"].median
            at = min(y / top, room)
            room = at - _LINE
            axis.annotate(
                label(row, rows),
                (x, y),
                xytext=(x, at * top),
                textcoords="data",
                va="center",
                fontsize=7,
                color="#475569",
                annotation_clip=False,
            ).set_position((_right_of(x), at * top))
            if abs(at * top - y) > _LINE * top / 2:
                axis.plot([x, _right_of(x)], [y, at * top], color=FAINT, linewidth=0.5)


def _columns(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows whose labels share a column, from the top down."""
    by_order = sorted(rows, key=lambda row: row.figures["reordered"].median)
    columns: list[list[Row]] = []
    for row in by_order:
        order = row.figures["reordered"].median
        if columns and order <= max(_SPLIT, _WIDE * columns[-1][0].figures["reordered"].median):
            columns[-1].append(row)
        else:
            columns.append([row])
    return [sorted(c, key=lambda row: -row.figures["rate"].median) for c in columns]


def _right_of(x: float) -> float:
    return x + 0.012 if x < _SPLIT else x * 1.25
