"""A few packets followed through the model: why one overtook another, as text, picture and trace.

The trace is in the Trace Event Format that Perfetto and Chrome's viewer read: one row a core, times
in microseconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prototype import model_state as state

Rows = NDArray[Any]
"""dtype :data:`prototype.model_state.TRACE`: units of work in the order in which they began."""

_COLOURS = {"softirq": "#4477aa", "cpumap": "#ee6677", "application": "#228833", "wire": "#bbbbbb"}
_LINES = ("black", "#aa8800", "#882288")
_PID = 0


@dataclass(frozen=True)
class Overtaking:
    """A packet that reached the socket behind a later one of its flow."""

    flow: int
    late: int
    """Its place among the flow's packets."""
    by: int
    """The place of the first one that went past it."""


def overtakings(rows: Rows, most: int = 3) -> list[Overtaking]:
    """The first packets that were overtaken, at most so many."""
    arrived = rows[rows["unit"] == state.TO_SOCKET]
    arrived = arrived[np.argsort(arrived["end"], kind="stable")]
    found: list[Overtaking] = []
    seen: dict[int, list[int]] = {}
    for flow, place in zip(arrived["flow"].tolist(), arrived["seq"].tolist(), strict=True):
        before = seen.setdefault(flow, [])
        later = [other for other in before if other > place]
        if later:
            found.append(Overtaking(flow, place, later[0]))
            if len(found) == most:
                break
        before.append(place)
    return found


def of_packet(rows: Rows, flow: int, place: int) -> Rows:
    """All work on one packet; of those that GRO put together the first one stands for all."""
    mine: Rows = rows[(rows["flow"] == flow) & (rows["seq"] == place)]
    return mine


def told(rows: Rows, found: Sequence[Overtaking]) -> list[str]:
    """Each overtaking in words: where both packets were, and when."""
    lines = []
    for each in found:
        lines.append(f"flow {each.flow}: packet {each.late} came behind packet {each.by}")
        for place in (each.late, each.by):
            lines.append(f"  packet {place}: {_way(of_packet(rows, each.flow, place))}")
    return lines


def _way(rows: Rows) -> str:
    return "; ".join(
        f"{state.UNITS[row['unit']]} on core {row['core']} at {row['begin'] / 1e3:.1f}"
        f" to {row['end'] / 1e3:.1f} us"
        for row in rows
    )


def events(rows: Rows) -> dict[str, Any]:
    """The whole trace as the JSON object that viewers open."""
    cores = np.unique(rows["core"]).tolist()
    names = [
        {
            "name": "thread_name",
            "ph": "M",
            "pid": _PID,
            "tid": core,
            "args": {"name": f"core {core}"},
        }
        for core in cores
    ]
    work = [
        {
            "name": state.UNITS[row["unit"]],
            "cat": state.KINDS[row["kind"]],
            "ph": "X",
            "ts": float(row["begin"]) / 1e3,
            "dur": float(row["end"] - row["begin"]) / 1e3,
            "pid": _PID,
            "tid": int(row["core"]),
            "args": {name: int(row[name]) for name in ("flow", "seq", "slot")},
        }
        for row in rows
    ]
    return {"traceEvents": names + work, "displayTimeUnit": "ns", "otherData": {"source": "twin"}}


def picture(rows: Rows, found: Sequence[Overtaking], path: Path, title: str) -> None:
    """Cores over time, coloured by whose time it is; lines follow the packets of overtakings."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.patches import Patch

    cores = np.unique(rows["core"]).tolist()
    figure, axes = plt.subplots(figsize=(9, 1.2 + 0.55 * len(cores)), dpi=110)
    for level, core in enumerate(cores):
        for kind, colour in _COLOURS.items():
            mine = rows[(rows["core"] == core) & (rows["kind"] == state.KINDS.index(kind))]
            bars = np.stack([mine["begin"], mine["end"] - mine["begin"]], axis=1) / 1e3
            axes.broken_barh(
                bars, (level - 0.3, 0.6), facecolors=colour, edgecolors="white", linewidth=0.2
            )
    for number, each in enumerate(found):
        for place, style in ((each.late, "-"), (each.by, "--")):
            way = of_packet(rows, each.flow, place)
            times = np.stack([way["begin"], way["end"]], axis=1).ravel() / 1e3
            levels = np.repeat([cores.index(core) for core in way["core"].tolist()], 2)
            label = f"packet {place}" + (" (late)" if place == each.late else "")
            axes.plot(
                times, levels, style, color=_LINES[number % len(_LINES)], linewidth=1.4, label=label
            )
    axes.set_yticks(range(len(cores)), [f"core {core}" for core in cores])
    axes.set(xlabel="simulated time, us", title=title)
    kinds = [Patch(color=colour, label=kind) for kind, colour in _COLOURS.items()]
    lines, _ = axes.get_legend_handles_labels()
    axes.legend(handles=kinds + lines, fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
