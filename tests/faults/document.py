"""Writes the tables of docs/trust.md from the results: ``python tests/faults/document.py``."""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/trust.md"
RESULTS = ROOT / "docs/results/trust"


def faults() -> list[str]:
    """A row a fault."""
    found = json.loads((RESULTS / "faults.json").read_text())
    lines = [
        "| what is done | as wanted | silence at most, ms | packets | lost by us | "
        "lost as by stock | what is said |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for each in found["faults"]:
        if each["cannot"]:
            lines.append(f"| {each['done']} | {each['cannot']} | | | | | |")
            continue
        figures = (
            f"{each['passed']} of {each['moments']}",
            f"{each['worst_silence_ms']:.0f}",
            *(f"{each[name]:,}" for name in ("packets", "lost", "lost_as_stock")),
        )
        said = f"`{each['line']}`" if each["line"] else "nothing: nothing changes"
        lines.append(f"| {each['done']} | {' | '.join(figures)} | {said} |")
    made = {(each["moments"], each["seed"]) for each in found["faults"] if not each["cannot"]}
    commands = (f"`make faults ARGS='--moments {n} --seed {s} --keep'`" for n, s in sorted(made))
    return [*lines, "", *commands]


def soak() -> list[str]:
    """A row a figure, a column a run."""
    runs = [json.loads((RESULTS / f"{name}.json").read_text()) for name in ("soak", "soak_billion")]
    columns = [_figures(found) for found in runs]
    rows = [f"| {name} | {' | '.join(each[name] for each in columns)} |" for name in columns[0]]
    commands = [f"`{found['command']}`" for found in runs]
    return ["| | first | second |", "| --- | ---: | ---: |", *rows, "", ", ".join(commands)]


def _figures(found: dict[str, Any]) -> dict[str, str]:
    events, memory, latency = found["events"], found["memory"], found["latency_ns"]

    def ends(of: dict[str, Any], scale: float, unit: str) -> str:
        return f"{of['first'] / scale:.1f}, {of['last'] / scale:.1f} {unit}"

    return {
        "packets": f"{found['packets']:,} in {found['seconds']:,.0f} s",
        "flows": f"{found['flows']:,}",
        "swaps, knobs set": f"{events.get('swaps', 0):,}, {events.get('knobs', 0):,}",
        "containers, links that went and came back": (
            f"{events.get('containers', 0):,}, {events.get('links', 0):,}"
        ),
        "lost": f"{found['lost']:,}",
        "by name": ", ".join(f"`{name}` {n:,}" for name, n in found["drops"].items() if n) or "-",
        "lost without a name": f"{found['unnamed']:,}",
        "misdelivered, doubled": f"{found['misdelivered']:,}, {found['doubled']:,}",
        "missed by the lab's NIC, which was not polled in time": f"{found['missed_by_nic']:,}",
        "sent but not seen by the datapath": f"{found['unaccounted']:,}",
        "by the stock path": f"{found['stock_path']:,}",
        "complaints of the kernel": f"{len(found['kernel']):,}",
        "the controller's memory, first and last third": ends(memory["resident"], 1 << 20, "MiB"),
        "its BPF maps": ends(memory["maps"], 1 << 20, "MiB"),
        "latency p50": ends({at: latency[at]["p50"] for at in latency}, 1e3, "µs"),
        "latency p99": ends({at: latency[at]["p99"] for at in latency}, 1e3, "µs"),
    }


TABLES = {"faults": faults, "soak": soak}


def with_tables(page: str) -> str:
    """The page with each table between its marks made anew."""
    for name, table in TABLES.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
        before, rest = page.split(begin)
        page = before + begin + "\n".join(table()) + "\n" + end + rest.split(end)[1]
    return page


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text()))
