"""The README's rows of kernels, from the saved result (docs/results/trust/matrix.json)."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

RESULT = Path(__file__).resolve().parents[2] / "docs/results/trust/matrix.json"
_KERNELS = ("live frames", "tcx links", "cpumap GRO", "RPS", "threaded NAPI", "kprobes", "BTF")
"""Of doctor's rows those that a kernel has or has not."""


def rows(result: dict[str, Any]) -> list[str]:
    """A row for each kernel, whatever the number of cores."""
    cells: dict[str, list[dict[str, Any]]] = {}
    for cell in result["cells"]:
        cells.setdefault(cell["kernel"], []).append(cell)
    return [_row(result, kernel, of) for kernel, of in cells.items()]


def _row(result: dict[str, Any], kernel: str, cells: list[dict[str, Any]]) -> str:
    cores = " and ".join(str(cell["cores"]) for cell in cells)
    told = {name: line for cell in cells for name, line in cell["failed"].items()}
    numbers = {kind: sum(len(cell[kind]) for cell in cells) for kind in ("passed", "refused")}
    checks = f"{numbers['passed']} checks passed"
    if numbers["refused"]:
        checks += f", {numbers['refused']} refused in one line"
    if told:
        checks += f", {len(told)} failed: {', '.join(sorted(told))}"
    if lacks := _lacks(cells):
        checks += f"; it has no {', no '.join(lacks)}"
    headers = _found(cells, "kernel headers")
    place = f"Debian's {kernel}, {cores} cores, emulated"
    return f"| {result['userland']} | {place} | {headers} | {checks} |"


def _lacks(cells: Iterable[dict[str, Any]]) -> list[str]:
    missing = {name for cell in cells for name, ok, _ in cell["doctor"] if not ok}
    return [name for name in _KERNELS if name in missing]


def _found(cells: Iterable[dict[str, Any]], name: str) -> str:
    """What doctor found under a name, the folder left out."""
    values = [value for cell in cells for row, _, value in cell["doctor"] if row == name]
    words = values[0].rpartition("/")[2].removeprefix("linux-headers-") if values else "?"
    return words.replace(" (stand-in)", ", a stand-in")


if __name__ == "__main__":  # to be pasted into the README
    print("\n".join(rows(json.loads(RESULT.read_text()))))
