"""``overspray bench``: run a described experiment."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench import options

if TYPE_CHECKING:
    from bench.experiment import Experiment
    from bench.results import Results


def register(app: typer.Typer) -> None:
    """Add the command ``bench``."""
    app.command("bench")(bench)


def bench(
    file: Annotated[Path, typer.Argument(metavar="FILE.toml", help="The experiment.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the runs and the total time; change nothing.")
    ] = False,
    resume: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Go on with a result that was broken off.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the result directory is made.")] = Path(
        "results"
    ),
    lab: options.LabName = "osp",
    twin: Annotated[
        bool, typer.Option("--twin", help="Simulate it (docs/twin.md); needs no root, no lab.")
    ] = False,
    costs: Annotated[
        Path | None, typer.Option(help="Of --twin: what 'twin calibrate' wrote.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Run an experiment: raw samples and the host's fingerprint to files, then the report."""
    from bench import experiment as experiments
    from bench.carry_out import carry_out, checked
    from bench.results import Results
    from steering.doctor import require
    from steering.errors import BadInput

    text = file.read_text() if file.is_file() else ""
    experiment = experiments.load(file)
    if not twin:
        checked(experiment)
    if dry_run:
        _list(experiment, as_json)
        return
    if not twin:
        require()
    results = Results.open(resume) if resume else Results.create(out, experiment.name, text)
    if resume and results.experiment != experiment:
        raise BadInput(f"'{resume}' is of another experiment than '{file}': resume it with its own")
    typer.echo(f"{experiment.title}: {_time(experiment)}, into {results.path}", err=True)
    try:
        if twin:
            _simulate(experiment, results, costs)
        else:
            carry_out(experiment, results, lab)
    except (KeyboardInterrupt, SystemExit):  # Ctrl-C, SIGTERM
        again = f"overspray bench {file} --resume {results.path}"
        typer.echo(f"broken off; to go on: {again}", err=True)
        raise
    _report(results, as_json)


def _simulate(experiment: "Experiment", results: "Results", path: Path | None) -> None:
    from bench import twin_runner
    from prototype.costs import Costs, reference

    costs = Costs.read(path) if path else reference()
    missing = experiment.runs() - len(results.done())
    with options.told(experiment.name, missing) as (note, step):
        twin_runner.carry_out(experiment, results, costs, note, step)


def _time(experiment: "Experiment") -> str:
    """``about 13 minutes, 8 of them to find stock-best``."""
    from bench.stock_best import seconds_missing

    sweeps = seconds_missing(experiment)
    words = f"about {max(1, round((experiment.estimate() + sweeps) / 60))} minutes"
    return f"{words}, {sweeps // 60} of them to find stock-best" if sweeps else words


def _list(experiment: "Experiment", as_json: bool) -> None:
    import json

    from bench.stock_best import seconds_missing

    plan = {
        "name": experiment.name,
        "runs": experiment.runs(),
        "seconds": round(experiment.estimate()) + seconds_missing(experiment),
        "points": {p.id: [str(v) for v in p.variants] for p in experiment.points()},
    }
    if as_json:
        typer.echo(json.dumps(plan, indent=1))
        return
    for point, variants in plan["points"].items():  # type: ignore[attr-defined]
        typer.echo(f"{point}:")
        for variant in variants:
            typer.echo(f"  {variant}")
    typer.echo(f"{experiment.rounds} rounds, {plan['runs']} runs, {_time(experiment)}")


def _report(results: object, as_json: bool) -> None:
    import json

    from bench.report import Report, markdown, write
    from bench.results import Results

    assert isinstance(results, Results)
    page = write(results, results.path)
    if as_json:
        typer.echo(json.dumps({"results": str(results.path), "report": str(page)}))
        return
    typer.echo(markdown(Report(results)))
    typer.echo(f"report: {page}", err=True)
