"""What ``overspray paper`` and ``overspray answers`` have in common: a suite, then its report."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from bench import suite
from bench.suite import Part

Write = Callable[[Path, Sequence[Part]], Path]
"""Makes the report of a directory; returns its path."""


@dataclass(frozen=True)
class Asked:
    """The command line."""

    suite: str
    wanted: tuple[str, ...]
    quick: bool
    dry_run: bool
    resume: Path | None
    out: Path
    lab: str
    as_json: bool


def run(asked: Asked, write: Write) -> None:
    """Measure what is missing, then report."""
    from bench.carry_out import checked, duration, minutes
    from steering.doctor import require
    from steering.errors import BadInput

    if asked.resume and (asked.wanted or asked.quick):
        raise BadInput("--resume goes on with what was begun: leave experiments and --quick out")
    chosen = (
        suite.held(asked.resume)
        if asked.resume
        else suite.parts(asked.suite, quick=asked.quick, wanted=asked.wanted)
    )
    for part in chosen:
        checked(part.experiment)
    seconds = {part.name: duration(part.experiment) for part in chosen}
    if asked.dry_run:
        _list(chosen, seconds, asked.as_json)
        return
    require()
    path = asked.resume or suite.begin(asked.out, asked.suite, chosen)
    tell(f"{len(chosen)} experiments, {minutes(sum(seconds.values()))}, into {path}")
    try:
        suite.carried_out(path, chosen, asked.lab, tell)
    except (KeyboardInterrupt, SystemExit):  # Ctrl-C, SIGTERM
        tell(f"broken off; to go on: overspray {asked.suite} --resume {path}")
        raise
    report = write(path, chosen)
    typer.echo(
        json.dumps({"results": str(path), "report": str(report)}) if asked.as_json else report
    )


def tell(text: str) -> None:
    """Progress, on stderr."""
    typer.echo(text, err=True)


def _list(chosen: Sequence[Part], seconds: dict[str, float], as_json: bool) -> None:
    from bench.carry_out import minutes

    if as_json:
        plan = [
            {
                "name": part.name,
                "runs": part.experiment.runs(),
                "seconds": round(seconds[part.name]),
            }
            for part in chosen
        ]
        typer.echo(json.dumps({"experiments": plan}, indent=1))
        return
    for part in chosen:
        runs = part.experiment.runs()
        typer.echo(f"{part.name}: {part.experiment.title}")
        typer.echo(f"  {runs} runs, {minutes(seconds[part.name])}")
    typer.echo(f"in all {minutes(sum(seconds.values()))}")
