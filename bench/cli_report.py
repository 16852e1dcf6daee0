"""``overspray report DIR…``: tables, pictures and a page of saved results."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from bench.options import AsJson
from steering.errors import BadInput


def register(app: typer.Typer) -> None:
    """Add ``report``."""
    app.command("report")(report)


def report(
    directories: Annotated[
        list[Path],
        typer.Argument(metavar="DIR…", help="Result directories, as `overspray bench` makes them."),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Where the report goes; if left out, into the only directory.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make the report of saved results: a page that works offline, tables, pictures (PNG and SVG).

    Reads files alone and needs no root. Several directories are pooled, as batches of one experiment, where
    experiment and host are alike; all others stand side by side.
    """
    if out is None and len(directories) > 1:
        raise BadInput("several directories: say where their report goes, with --out DIRECTORY")
    make(directories, out or directories[0], as_json)


def make(directories: Sequence[Path], out: Path, as_json: bool) -> None:
    """Write the report, and print what was found."""
    import json

    from bench import report as reports

    made = reports.of(directories)
    files = reports.write(made, out)
    if as_json:
        typer.echo(json.dumps({"files": [str(file) for file in files], **reports.as_dict(made)}, indent=2))
        return
    for line in reports.as_text(made):
        typer.echo(line)
    typer.echo(f"the report is {files[0]}; tables and pictures are beside it")
