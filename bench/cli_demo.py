"""``overspray demo``: the first experiment, and its report."""

from pathlib import Path
from typing import Annotated

import typer

from bench.options import AsJson


def register(app: typer.Typer) -> None:
    """Add ``demo``."""
    app.command("demo")(demo)


def demo(
    quick: Annotated[
        bool, typer.Option("--quick", help="Two minutes instead of ten: small packets, short rounds.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Where results go: a new directory; if left out, below results/.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list what would be run, and how long.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Measure what one container flow gets from stock Linux at its best, and what it gets sprayed.

    Runs bench/experiments/single_flow.toml as `overspray bench` does, after a short sweep for what stock-best
    stands for, where none of this host is saved. Keeps raw samples, the host's fingerprint, and the report.
    """
    import json
    import time

    from bench import cli_bench, cli_report, conduct, results
    from bench import demo as first
    from steering import doctor

    def say(text: str) -> None:
        typer.echo(text, err=True)

    doctor.require("capabilities", "BPF")
    experiment = first.described(quick)
    directory = out or Path("results") / time.strftime("demo-%Y%m%d-%H%M%S")
    left = conduct.missing(experiment, directory)
    lines = [
        *cli_bench.listed(experiment, conduct.runs_of(experiment, left), conduct.needed(experiment, left))
    ]
    missing = first.unswept(experiment)
    lines += [
        f"before that, a sweep for {case}/stock-best: payload {sent.payload}, sink {sink}"
        for case, sent, sink in missing
    ]
    if dry_run:
        typer.echo(json.dumps({"plan": lines}, indent=2) if as_json else "\n".join(lines))
        return
    for line in lines:
        say(line)
    results.require_room(directory)  # before the sweeps, which take a minute or two
    for case, sent, sink in missing:
        first.sweep(case, sent, sink, say)
    conduct.conduct(experiment, directory, f"overspray demo{' --quick' * quick}", say)
    cli_report.make([directory], directory, as_json)
