"""What all plots share: colours of the families, shapes, fonts, legends."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.analysis import Row, Table
from bench.sample import CORE_KINDS
from bench.variant import Family

SOURCES = {"veth": "veth, live frames", "twin": "twin, simulated", "nic": "network card"}
FAMILY_COLOURS: dict[Family, str] = {"native": "#64748b", "stock": "#d97706", "ours": "#0f766e"}
FAMILY_LABELS: dict[Family, str] = {
    "native": "native, no overlay",
    "stock": "stock Linux",
    "ours": "ours",
}
KIND_COLOURS = dict(
    zip(
        CORE_KINDS,
        ("#cbd5e1", "#1e40af", "#60a5fa", "#0ea5e9", "#7c3aed", "#fbbf24", "#c4b5fd", "#ef4444"),
        strict=True,
    )
)
STAGE_COLOURS = ("#b91c1c", "#f97316", "#facc15", "#7c3aed", "#2563eb", "#64748b", "#14b8a6")
INK, FAINT = "#1e293b", "#94a3b8"
PANELS = 3
STYLE = {
    "font.size": 9,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "ytick.left": False,
    # The same figures give the same file.
    "svg.hashsalt": "overspray",
}


def look_of(row: Row) -> dict[str, Any]:
    """Filled circle; a diamond when packets are gathered by a coalescing variant."""
    colour = FAMILY_COLOURS[row.variant.family]
    marker = "D" if row.variant.coalescing else "o"
    size = 5 if marker == "D" else 6
    return {"color": colour, "marker": marker, "markersize": size, "clip_on": False}


def families(tables: Sequence[Table]) -> list[tuple[str, dict[str, Any]]]:
    """Legend of the families that are there."""
    rows = [row for table in tables for row in table.rows]
    present = [family for family in FAMILY_LABELS if any(r.variant.family == family for r in rows)]
    entries: list[tuple[str, dict[str, Any]]] = [
        (FAMILY_LABELS[family], {"marker": "o", "color": FAMILY_COLOURS[family]})
        for family in present
    ]
    if any(row.variant.coalescing for row in rows):
        look = {"marker": "D", "color": INK, "markerfacecolor": "white", "markersize": 5}
        entries.append(("with coalescing", look))
    return entries


def legend(figure: Any, entries: Sequence[tuple[str, dict[str, Any]]]) -> None:
    """Below the figure, one entry for each label and look."""
    from matplotlib.lines import Line2D

    if entries:
        handles = [Line2D([], [], linestyle="", label=label, **look) for label, look in entries]
        figure.legend(
            handles=handles, loc="outside lower left", ncols=min(6, len(handles)), frameon=False
        )


def panels(
    tables: Sequence[Table], title: str, path: Path, draw: Callable[[Any, Table], None]
) -> None:
    """One panel for each table, side by side, at most three; PNG and SVG."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    tables = tables[:PANELS]
    with rc_context(STYLE):
        made = Figure(figsize=(1.2 + 5.4 * len(tables), 5.6), layout="constrained")
        for axis, table in zip(
            made.subplots(1, len(tables), squeeze=False)[0], tables, strict=True
        ):
            draw(axis, table)
        made.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
        legend(made, families(tables))
        made.savefig(path.with_suffix(".png"), dpi=140)
        made.set_layout_engine("none")
        made.savefig(path.with_suffix(".svg"), metadata={"Date": None})
