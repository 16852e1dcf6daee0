"""The picture of coalescing: work units a packet against latency, and who is on the frontier."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.analysis import Row, Table
from bench.plot_style import FAMILY_COLOURS, SOURCES, look_of, panels

COST, LATENCY = "work", "p99"


def shows(row: Row) -> bool:
    """Whether a variant has both figures, and lost next to nothing."""
    named = COST in row.figures and LATENCY in row.figures
    return named and row.figures[COST].median > 0 and row.figures["loss"].median < 1


def place(row: Row) -> tuple[float, float]:
    """Work units a packet, and p99 in us."""
    return row.figures[COST].median, row.figures[LATENCY].median


def best(rows: Sequence[Row]) -> list[Row]:
    """Those that no other one beats in both; by work, the least first."""
    found: list[Row] = []
    for row in sorted(filter(shows, rows), key=place):
        if not found or place(row)[1] < place(found[-1])[1]:
            found.append(row)
    return found


def figure(tables: Sequence[Table], title: str, path: Path) -> None:
    """One panel for each table; see :func:`bench.plot_style.panels`."""
    panels(tables, title, path, _panel)


def _panel(axis: Any, table: Table) -> None:
    axis.set_title(table.title, pad=8)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel(f"NAPI polls and cpumap batches a packet\n{SOURCES[table.source]}")
    axis.set_ylabel("p99, µs")
    axis.grid(color="#e2e8f0", linewidth=0.7)
    axis.set_axisbelow(True)
    rows = [row for row in table.rows if shows(row)]
    for ours in (False, True):
        side = [row for row in rows if (row.variant.family == "ours") == ours]
        edge = [place(row) for row in best(side)]
        if edge:
            colour = FAMILY_COLOURS[side[0].variant.family]
            axis.plot(*zip(*edge, strict=True), color=colour, linewidth=1.2, alpha=0.5)
    for row in rows:
        work, latency = place(row)
        axis.plot([work], [latency], linestyle="", **look_of(row))
        axis.annotate(
            row.variant.label, (work, latency), xytext=(6, 2), textcoords="offset points",
            fontsize=6.5, color="#475569",
        )  # fmt: skip
