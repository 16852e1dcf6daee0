"""``overspray bench FILE``: an experiment that a file describes."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.options import AsJson

if TYPE_CHECKING:
    from bench.experiment import Experiment


def register(app: typer.Typer) -> None:
    """Add ``bench``."""
    app.command("bench")(bench)


def bench(
    file: Annotated[Path, typer.Argument(help="The description, in TOML: see docs/experiments.md.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Where results go: a new directory, or that of a run to go on with."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list what would be run, and how long.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run a described experiment: every variant at every point of its traffic, in interleaved rounds.

    Every run is kept at once. Broken off, it goes on where it was when the same is typed with --out of its
    directory. At its end it makes the report, as `overspray report` does.
    """
    import json
    import shlex
    import time

    from bench.experiment import Experiment, Mistakes

    try:
        experiment = Experiment.of_file(file)
    except Mistakes as error:
        for line in error.lines:
            typer.echo(f"overspray: {' '.join(line.split())}", err=True)
        raise typer.Exit(error.exit_code) from None
    from bench import conduct

    directory = out or Path("results") / time.strftime(f"{file.stem}-%Y%m%d-%H%M%S")
    left = conduct.missing(experiment, directory)
    runs, seconds = conduct.runs_of(experiment, left), conduct.needed(experiment, left)
    if dry_run:
        conduct.stand_ins(experiment, lambda text: typer.echo(text, err=True))
        found = {
            **{"title": experiment.title, "variants": experiment.variants, "points": experiment.points},
            **{
                "rounds": experiment.rounds,
                "batches": experiment.batches,
                "runs": runs,
                "seconds": round(seconds),
            },
        }
        typer.echo(json.dumps(found, indent=2) if as_json else "\n".join(listed(experiment, runs, seconds)))
        return

    from bench import cli_report
    from steering import doctor

    doctor.require("capabilities", "BPF")
    command = f"overspray bench {shlex.quote(str(file))} --out {shlex.quote(str(directory))}"
    for line in (*listed(experiment, runs, seconds), f"broken off, it goes on with: {command}"):
        typer.echo(line, err=True)
    conduct.conduct(
        experiment, directory, f"overspray bench {file.name}", lambda text: typer.echo(text, err=True)
    )
    cli_report.make([directory], directory, as_json)


def listed(experiment: "Experiment", runs: int, seconds: float) -> Iterator[str]:
    """What will be run, and how long that takes."""
    yield experiment.title
    points = experiment.points
    for number, point in enumerate(points, 1):
        shown = ", ".join(f"{name} {value}" for name, value in point.items())
        yield f"  point {number}/{len(points)}: {shown}"
    for number, variant in enumerate(experiment.variants, 1):
        yield f"  variant {number}/{len(experiment.variants)}: {variant}"
    batches = f" in each of {experiment.batches} batches" if experiment.batches > 1 else ""
    took = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
    yield f"{experiment.rounds} rounds{batches}, {experiment.seconds:g} s each: {runs} runs, about {took}"
