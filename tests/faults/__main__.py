"""``make faults``: every fault at many random moments under load; what came of it, as a table."""

import argparse
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from fault import Fault, Outcome
from stage import Stage
from table import faults

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "docs/results/trust/faults.json"
WITHIN = 1000.0
"""ms in which traffic has to go on."""


def main() -> int:
    """Exit code 1 where a moment was not as wanted; each of those is told."""
    names = [each.name for each in faults()]
    parser = argparse.ArgumentParser(prog="make faults")
    parser.add_argument("--moments", type=int, default=100, help="of each fault")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fault", choices=names, nargs="*", default=names)
    parser.add_argument("--keep", action="store_true", help=f"in {RESULT.relative_to(ROOT)}")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was done is undone
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, Stage(Path(folder)) as stage:
        for fault in faults():
            if fault.name in given.fault:
                rows.append(row(stage, fault, given.moments, given.seed))
                print(line(rows[-1]), flush=True)
                if given.keep:  # what was measured stays, whatever comes next
                    keep(rows[-1], names)
    return int(any(each["passed"] < each["moments"] for each in rows if not each["cannot"]))


def keep(found: dict[str, Any], order: list[str]) -> None:
    """A fault's row, in place of what was kept of it before."""
    kept = json.loads(RESULT.read_text())["faults"] if RESULT.exists() else []
    rows = [each for each in kept if each["fault"] in order and each["fault"] != found["fault"]]
    rows = sorted([*rows, found], key=lambda each: order.index(each["fault"]))
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps({"faults": rows}, indent=1) + "\n")


def row(stage: Stage, fault: Fault, moments: int, seed: int) -> dict[str, Any]:
    """One fault's moments, summed up."""
    cannot = fault.why_not()
    outcomes = []
    began = time.monotonic()
    for number in range(0 if cannot else moments):
        outcome = stage.moment(fault, seed * 1_000_003 + number)
        if outcome.silence > WITHIN:
            outcome.problems.append(f"silent for {outcome.silence:.0f} ms")
        for problem in outcome.problems:
            print(f"\n{fault.name}, moment {number}: {problem}", file=sys.stderr)
        outcomes.append(outcome)
        if sys.stderr.isatty():
            print(f"\r{fault.name}: {number + 1} of {moments} ", end="", file=sys.stderr)
    return {
        "fault": fault.name,
        "done": fault.done,
        "moments": len(outcomes),
        "seed": seed,
        "passed": len([each for each in outcomes if not each.problems]),
        "packets": sum(each.sent for each in outcomes),
        "worst_silence_ms": round(max((each.silence for each in outcomes), default=0), 1),
        "worst_followed_ms": round(max((each.followed for each in outcomes), default=0), 1),
        "lost": sum(each.lost - each.missed for each in outcomes),
        "missed_by_nic": sum(each.missed for each in outcomes),
        "lost_as_stock": sum(each.interrupted for each in outcomes),
        "drops": dict(sum((each.names for each in outcomes), Counter())),
        "line": example(outcomes),
        "seconds": round(time.monotonic() - began, 1),
        "cannot": f"host cannot: {cannot}" if cannot else "",
    }


def example(outcomes: list[Outcome]) -> str:
    """The line that was said most often."""
    said = Counter(each.line for each in outcomes if each.line)
    return said.most_common(1)[0][0] if said else ""


def line(found: dict[str, Any]) -> str:
    """A fault's row, for people."""
    return (found["cannot"] and f"{found['fault']}: {found['cannot']}") or (
        f"{found['fault']}: {found['passed']} of {found['moments']}, silent for at most "
        f"{found['worst_silence_ms']} ms, followed in {found['worst_followed_ms']} ms, "
        f"{found['lost']} lost ({found['lost_as_stock']} as stock), {found['seconds']} s: "
        f"{found['line']}"
    )


if __name__ == "__main__":
    sys.exit(main())
