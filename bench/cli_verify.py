"""``overspray verify``: the stock stack as oracle, frame by frame."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bench.verify_jobs import Part
    from bench.verify_kept import Kept, Plain
    from bench.verify_run import Report

_LONG = 1_000_000
"""Frames from which on each part that is done is told."""


def register(app: typer.Typer) -> None:
    """Add ``verify``."""
    app.command()(verify)


def verify(
    case: Annotated[
        str | None, typer.Option(help="docker, flannel or linux; all of the suite if left out.")
    ] = None,
    policy: Annotated[
        str | None, typer.Option(help="NAME[:knob=value,…] or @PATH in place of the suite's.")
    ] = None,
    frames: Annotated[int, typer.Option(min=1, help="Frames in all, over the setups.")] = 100_000,
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same frames.")] = 1,
    pcap: Annotated[
        Path | None,
        typer.Option(help="Frames of a capture, or of a folder of them, addressed to the lab."),
    ] = None,
    inside: Annotated[
        bool, typer.Option("--inside", help="The capture's frames go into the tunnel.")
    ] = False,
    keep: Annotated[
        Path | None,
        typer.Option(help="Write what is done so far there, and go on with what it has."),
    ] = None,
    jobs: Annotated[
        int, typer.Option(min=1, max=64, help="Setups at once, each with labs of its own.")
    ] = 1,
    name: Annotated[str, typer.Option(help="What the labs' names start with.")] = "verify",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Send the same frames down the stock path and ours, in twin labs; compare all that comes out.

    Each container's device and socket must see the same, byte for byte and as often, and the wire
    the same answers. Differences that docs/limits.md names are counted; any other is minimised to
    the fewest frames, printed, and makes the exit code 1. Broken off, it tells what is done so far.
    """
    from bench.verify import suite
    from bench.verify_jobs import captured, carried_out, parts
    from bench.verify_kept import Kept
    from steering.errors import BadInput

    if inside and pcap is None:
        raise BadInput("--inside: of which capture? add --pcap")
    setups = suite(case, policy)
    chosen = (
        captured(setups, pcap, inside, lambda text: print(text, file=sys.stderr))
        if pcap
        else parts(setups, frames, seed)
    )
    source = f"--pcap {pcap}{' --inside' * inside}" if pcap else f"--frames {frames} --seed {seed}"
    kept = Kept.open(keep, _command(case, policy, source))
    reports: list[Report] = []
    try:
        for report in carried_out(kept.left(chosen), name, jobs, _print_progress):
            kept.add(report)
            reports.append(report)
            _print_done(kept, chosen)
    except BaseException:  # what was seen before it was broken off is told
        if kept.done:
            _show(kept, reports, seed, as_json)
        raise
    _show(kept, reports, seed, as_json)
    if not any(part["frames"] for part in kept.done):
        raise BadInput(f"'{pcap}': no setup's wire takes any of its frames: name another capture")
    if any(part["findings"] for part in kept.done):
        raise typer.Exit(1)


def _command(case: str | None, policy: str | None, source: str) -> str:
    """What makes the same parts again."""
    words = [f"--{key} {value}" for key, value in (("case", case), ("policy", policy)) if value]
    return " ".join(["overspray verify", *words, source])


def _show(kept: "Kept", reports: "list[Report]", seed: int, as_json: bool) -> None:
    from bench.verify_kept import summed

    if as_json:
        import json

        print(json.dumps({"seed": seed, "setups": summed(kept.done)}, indent=2))
    else:
        _print(summed(kept.done), reports)


def _print_progress(what: str, done: int, total: int) -> None:
    if sys.stderr.isatty():
        end = "\r\x1b[K" if done >= total else ""
        print(f"\r\x1b[K{what}: {done} of {total} frames{end}", end="", file=sys.stderr, flush=True)


def _print_done(kept: "Kept", chosen: "list[Part]") -> None:
    """After each part of a long comparison."""
    done = sum(part["frames"] for part in kept.done)
    total = sum(part.frames for part in chosen)
    if len(kept.done) < len(chosen) and total >= _LONG:
        found = sum(len(part["findings"]) for part in kept.done)
        print(f"{done:,} of {total:,} frames, {found} unknown differences", file=sys.stderr)


def _print(sums: "list[Plain]", reports: "list[Report]") -> None:
    from collections import Counter

    for row in sums:
        rate = row["frames"] / max(row["seconds"], 1e-9)
        left_out = f" ({row['left_out']} left out)" if row["left_out"] else ""
        print(
            f"{row['setup']}: {row['frames']} frames{left_out}, "
            f"{row['on_fast_path']} on the fast path, {row['seen_by_stock']} sights compared, "
            f"{len(row['findings'])} unknown differences ({rate:.0f} frames/s)"
        )
        for report in reports:
            if report.setup == row["setup"]:
                for finding in report.findings:
                    for line in finding.lines():
                        print(f"  {line}")
    known: Counter[str] = sum((Counter(row["known"]) for row in sums), Counter())
    for name, times in sorted(known.items()):
        print(f"known ({name}, see docs/limits.md): {times}")
