"""``overspray paper``: the paper's experiments on this machine, and whether its findings hold."""

from pathlib import Path
from typing import Annotated

import typer

from bench import options


def register(app: typer.Typer) -> None:
    """Add the command ``paper``."""
    app.command("paper")(paper)


def paper(
    figures: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FIGURE]…",
            help="throughput, cpu, stages, flows, sizes, interrupts; none: all of them.",
        ),
    ] = None,
    quick: options.Quick = False,
    dry_run: options.DryRun = False,
    resume: options.Resume = None,
    page: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Measure nothing: make the report of DIR's results anew."),
    ] = None,
    out: options.Out = Path("results"),
    lab: options.LabName = "osp",
    as_json: options.Json = False,
) -> None:
    """Rerun the paper's experiments; a report with its figures and ours side by side, as ratios."""
    from bench import paper_report, suite, suite_cli

    if page is not None:
        typer.echo(paper_report.write(page, suite.held(page)))
        return
    asked = suite_cli.Asked(
        "paper", tuple(figures or ()), quick, dry_run, resume, out, lab, as_json
    )
    suite_cli.run(asked, paper_report.write)
