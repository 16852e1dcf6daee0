"""``overspray doctor``: what this host can do, what each thing is for, and how to get it."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from steering.doctor import Row


_NARROWEST = 80
"""Columns below which a terminal's wrapping reads better than ours."""


def register(app: typer.Typer) -> None:
    """Add ``doctor``."""
    app.command()(doctor)


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show what this host can do. Exit code 1 when the main job cannot run here.

    Really tries it, in nameless network namespaces that end with each trial; leaves nothing behind.
    """
    from steering.doctor import examine, host

    rows = examine()
    missing = [row.name for row in rows if row.needed and not row.ok]
    if as_json:
        import json

        report = {"ok": not missing, "host": host(), "rows": [row.as_dict() for row in rows]}
        print(json.dumps(report, indent=2))
    else:
        print(f"Linux {host()['kernel']} on {host()['machine']}")
        _print_table(rows)
        if missing:
            print(f"The main job cannot run here; missing: {', '.join(missing)}.")
        else:
            print("The main job can run here.")
    raise typer.Exit(1 if missing else 0)


def _print_table(rows: "list[Row]") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in ("", "what"):
        table.add_column(column, no_wrap=True)
    for column in ("found", "meaning; how to get it"):
        table.add_column(column, overflow="fold")
    for row in rows:
        mark = "[green]yes[/]" if row.ok else "[red]NO[/]" if row.needed else "[yellow]no[/]"
        advice = "" if row.ok else f"; [bold]{escape(row.fix)}[/]"
        table.add_row(mark, row.name, escape(row.value), escape(row.meaning) + advice)
    console = Console()
    console.width = max(console.width, _NARROWEST)
    console.print(table)
