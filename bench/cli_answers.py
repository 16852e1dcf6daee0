"""``overspray answers``: what the paper's three open questions need, measured and reported."""

from pathlib import Path
from typing import Annotated

import typer

from bench import options


def register(app: typer.Typer) -> None:
    """Add the command ``answers``."""
    app.command("answers")(answers)


def answers(
    wanted: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[EXPERIMENT]…",
            help="flow_udp, flow_tcp, bottleneck; elephant, equal, neighbour; coalescing; "
            "none: all of them.",
        ),
    ] = None,
    quick: options.Quick = False,
    dry_run: options.DryRun = False,
    resume: options.Resume = None,
    page: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Measure nothing: write the report of these results, print the page made of them.",
        ),
    ] = None,
    out: options.Out = Path("results"),
    lab: options.LabName = "osp",
    as_json: options.Json = False,
) -> None:
    """Measure what the three open questions need; a report with a section for each of them."""
    from bench import answers_page, answers_report, suite, suite_cli

    if page is not None:
        if any(page.glob("*/experiment.toml")):
            answers_report.write(page, suite.held(page))
        typer.echo(answers_page.page(page), nl=False)
        return
    names = tuple(wanted or ())
    asked = suite_cli.Asked("answers", names, quick, dry_run, resume, out, lab, as_json)
    suite_cli.run(asked, answers_report.write)
