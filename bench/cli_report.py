"""``overspray report``: tables and plots of a result, from its files alone."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Format(StrEnum):
    """What the report is written as."""

    HTML = "html"
    MARKDOWN = "md"


def register(app: typer.Typer) -> None:
    """Add the command ``report``."""
    app.command("report")(report)


def report(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Result directory, as 'overspray bench' made it.")
    ],
    form: Annotated[
        Format,
        typer.Option("--format", help="html: a page and plots on disk; md: tables on stdout."),
    ] = Format.HTML,
    output: Annotated[
        Path | None, typer.Option(help="Where page and plots go (default: into DIR).")
    ] = None,
) -> None:
    """Report a result: one self-contained page with plots (PNG and SVG), or tables for a README."""
    from bench.report import Report, markdown, write
    from bench.results import Results

    results = Results.open(directory)
    if form is Format.MARKDOWN:
        typer.echo(markdown(Report(results)))
    else:
        typer.echo(write(results, output or directory))
