"""How many instructions the verifier looks at, program by program, and whether they have grown."""

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from steering import bpf, registry
from steering.compile import Module
from steering.plan import read_plan
from steering.spec import Spec
from steering.unit import Unit

RESULT = Path(__file__).parents[2] / "docs/results/trust/verifier.json"
ALLOWED = 1.1
"""Times what was saved: growth up to that is nobody's business."""
LIMIT = 1_000_000
"""The verifier's own, for one program."""

Counts = dict[str, int]
Saved = dict[str, Any]


def counted(policy: str) -> Counts:
    """The programs of one policy's unit; the NIC stage under the policy's name."""
    with closing(Unit(read_plan(Spec(policy, {}), [0]), 1)) as unit:
        unit.module.load("deliver", bpf.PROG_TYPE_XDP, bpf.ATTACH_XDP_CPUMAP)
        found = unit.module.instructions()
    return {f"steer: {policy}" if name == "steer" else name: n for name, n in found.items()}


def alone() -> Counts:
    """What is compiled once for all policies."""
    with Module("peer.bpf.c") as module:
        module.load("peer", bpf.PROG_TYPE_SCHED_CLS)
        return module.instructions()


def everything() -> Counts:
    """Of every policy on the shelf; of a program that several units have, the most."""
    found: Counts = alone()
    for policy in registry.names():
        for name, count in counted(policy).items():
            found[name] = max(count, found.get(name, 0))
    return dict(sorted(found.items()))


def read() -> Saved:
    """What is saved: ``kernels`` by release, and ``grown``, each time with its reason."""
    empty: Saved = {"command": "make verifier", "kernels": {}, "grown": []}
    return dict(json.loads(RESULT.read_text())) if RESULT.exists() else empty


def before(saved: Saved, kernel: str) -> Counts:
    """What was saved for a kernel, or else for another build of the same version (6.18)."""
    kernels: dict[str, Counts] = saved["kernels"]
    version = kernel.split(".")[:2]
    alike = [counts for name, counts in kernels.items() if name.split(".")[:2] == version]
    return kernels.get(kernel) or (alike[-1] if alike else {})


def keep(kernel: str, now: Counts, why: str) -> list[str]:
    """Save what was counted; a line for each program that has grown without a reason: then nothing
    is saved."""
    saved = read()
    more = list(grown(before(saved, kernel), now))
    if more and not why:
        told = "{}: {:,} -> {:,} instructions on {}"
        return [told.format(*each, kernel) for each in more]
    saved["grown"] += [
        {"program": name, "kernel": kernel, "before": was, "now": count, "why": why}
        for name, was, count in more
    ]
    saved["kernels"][kernel] = now
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(saved, indent=1) + "\n")
    return []


def grown(before: Mapping[str, int], now: Mapping[str, int]) -> Iterator[tuple[str, int, int]]:
    """Programs that have grown by more than is allowed: name, before, now."""
    for name, count in now.items():
        if name in before and count > before[name] * ALLOWED:
            yield name, before[name], count


def table(saved: Saved) -> str:
    """Markdown: a row for each program, a column for each kernel; then what has grown, and why."""
    kernels: dict[str, Counts] = saved["kernels"]
    lines = [
        f"| program | {' | '.join(kernels)} |",
        f"| --- |{' ---: |' * len(kernels)}",
    ]
    for name in dict.fromkeys(name for counts in kernels.values() for name in counts):
        cells = (f"{counts[name]:,}" if name in counts else "-" for counts in kernels.values())
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    if saved["grown"]:
        lines += ["", "| grown | kernel | from | to | why |", "| --- | --- | ---: | ---: | --- |"]
    for each in saved["grown"]:
        numbers = f"{each['before']:,} | {each['now']:,}"
        lines.append(f"| `{each['program']}` | {each['kernel']} | {numbers} | {each['why']} |")
    return "\n".join(lines)
