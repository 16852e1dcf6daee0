"""``overspray doctor``: what this host can do, what each thing is for, and how to get it."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from steering.host import Probe


def register(app: typer.Typer) -> None:
    """Add ``doctor``."""
    app.command()(doctor)


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show what this host can do. Exit code 1 when the main job cannot run here.

    Really tries what it can, in a nameless network namespace; leaves nothing behind.
    """
    from steering.doctor import examine

    probes = examine()
    missing = [probe.name for probe in probes if probe.needed and not probe.ok]
    if as_json:
        import json

        report = {"ok": not missing, "probes": [probe.as_dict() for probe in probes]}
        print(json.dumps(report, indent=2))
    else:
        _print_table(probes)
        if missing:
            print(f"The main job cannot run here. Missing: {', '.join(missing)}.")
        else:
            print("The main job can run here: type 'make demo'.")
    raise typer.Exit(1 if missing else 0)


def _print_table(probes: "list[Probe]") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in ("", "what", "found", "meaning; how to get it"):
        table.add_column(column, overflow="fold")
    for probe in probes:
        mark = "[green]yes[/]" if probe.ok else "[red]NO[/]" if probe.needed else "[yellow]no[/]"
        advice = "" if probe.ok or not probe.fix else f"; [bold]{escape(probe.fix)}[/]"
        table.add_row(mark, probe.name, escape(probe.value), escape(probe.meaning) + advice)
    Console().print(table)
