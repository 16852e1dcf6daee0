"""``overspray policy``: what there is, what it is for, one's own, and whether it is right."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from bench.check import Report

_Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


def register(app: typer.Typer) -> None:
    """Add ``policy`` with its sub-commands."""
    policy = typer.Typer(
        help="Steering policies: list, show, write, check them.", no_args_is_help=True
    )
    policy.command("list")(list_)
    policy.command()(show)
    policy.command()(new)
    policy.command()(check)
    app.add_typer(policy, name="policy")


def list_(
    markdown: Annotated[
        bool, typer.Option(help="Only ours, as the table in docs/policies.md.")
    ] = False,
    as_json: _Json = False,
) -> None:
    """List stock steering and our policies: order promised, what they do, what they need."""
    from bench.policy_table import markdown as as_markdown
    from bench.policy_table import rows

    if markdown:
        typer.echo(as_markdown(), nl=False)
    elif as_json:
        typer.echo(json.dumps({"policies": rows()}, indent=1))
    else:
        cells = [
            (each["kind"], each["name"], each["order"], each["summary"], " ".join(each["needs"]))
            for each in rows()
        ]
        _print_table(("", "name", "order", "what it does", "needs"), cells)


def show(
    name: Annotated[str, typer.Argument(help="A name from 'policy list', or a policy's folder.")],
    as_json: _Json = False,
) -> None:
    """Show one policy: idea, knobs, the order it keeps, when it is good, when it drowns."""
    from bench.policy_text import described

    found = described(name)
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    for key in ("name", "order", "summary", "good", "drowns", "needs"):
        value = found.get(key)
        if value:
            text = " ".join(value) if isinstance(value, list) else value
            typer.echo(f"{key + ':':<9}{text}")
    if found["opening"]:
        typer.echo(f"\n{found['opening']}")
    if found["knobs"]:
        typer.echo("")
        _print_knobs(found["knobs"])
    if found["files"]:
        typer.echo("")
    for file in found["files"]:
        typer.echo(file)


def new(
    name: Annotated[str, typer.Argument(help="Small letters, digits and '-'.")],
    folder: Annotated[Path, typer.Option(help="Where its folder is made.")] = Path(),
    as_json: _Json = False,
) -> None:
    """Write a new policy: a folder with both halves, commented, that passes 'policy check'."""
    from bench.new_policy import write

    path = write(name, folder)
    files = [str(path / file) for file in ("policy.h", "policy.py")]
    if as_json:
        typer.echo(json.dumps({"name": name, "folder": str(path), "files": files}))
        return
    for file in files:
        typer.echo(file)
    typer.echo(f"Change them, then type: overspray policy check {path}", err=True)


def check(
    policy: Annotated[str, typer.Argument(help="A policy's folder, or a name on the shelf.")],
    cost: Annotated[
        bool, typer.Option(help="Also time a decision in the kernel (as root, some seconds).")
    ] = True,
    as_json: _Json = False,
) -> None:
    """Check a policy before it is attached. Exit code 2 if anything is wrong with it.

    Does it compile for both sides, does the verifier take it, does it decide alike on both sides,
    does it keep the order it promises, what does a decision cost. The kernel's half needs root.
    """
    from bench.check import examine, folder_of

    report = examine(folder_of(policy), cost)
    if as_json:
        typer.echo(json.dumps(report.as_dict(), indent=1))
    else:
        _print_report(report)
    raise typer.Exit(0 if report.ok else 2)


def _print_report(report: "Report") -> None:
    for fault in report.faults:
        typer.echo(" ".join(str(fault).split()))
    for topic, fact in report.facts.items():
        typer.echo(f"{topic + ':':<12}{fact}")
    for what in report.left_out:
        typer.echo(f"left out:   {what}")
    count = len(report.faults)
    verdict = f"{count} problem{'s' if count > 1 else ''}" if count else "nothing wrong"
    typer.echo(f"{report.policy}: {verdict}")


def _print_knobs(knobs: list[dict[str, Any]]) -> None:
    cells = [
        (
            each["name"],
            str(each["default"]),
            f"{each['low']} to {each['high']}",
            each["unit"],
            each["help"],
        )
        for each in knobs
    ]
    _print_table(("knob", "default", "range", "unit", "what it is"), cells)


def _print_table(columns: tuple[str, ...], cells: Sequence[tuple[str, ...]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in cells:
        table.add_row(*map(escape, row))
    Console(highlight=False).print(table)
