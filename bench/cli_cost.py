"""``overspray cost``: nanoseconds per packet of the NIC stage, part by part, policy by policy."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bench.cost import PolicyCost


_WIDTH = 110


def register(app: typer.Typer) -> None:
    """Add ``cost``."""
    app.command()(cost)


def cost(
    policy: Annotated[
        list[str] | None,
        typer.Option(
            "--policy", help="NAME[:knob=value,…] or @PATH; all on the shelf if left out."
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(min=6, help="Interleaved repetitions.")] = 200,
    payload: Annotated[int, typer.Option(help="UDP payload in bytes.")] = 18,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show what the NIC stage costs a packet, in ns: medians with 95 % intervals.

    Measured by test runs of the loaded program on one flow, with everything in the cache.
    """
    from bench.cost import measure
    from steering.registry import names
    from steering.spec import Spec

    specs = [Spec.parse(text) for text in policy or names()]
    found = measure(specs, rounds, payload, _print_progress)
    if as_json:
        import json

        report = {"unit": "ns/packet", "policies": [each.as_dict() for each in found]}
        print(json.dumps(report, indent=2))
    else:
        _print_table(found)


def _print_progress(what: str, done: int, total: int) -> None:
    import sys

    if sys.stderr.isatty():
        print(f"\r\x1b[K{what} ({done}/{total})", end="", file=sys.stderr, flush=True)
        if done + 1 == total:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _print_table(found: "list[PolicyCost]") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from bench.cost import PARTS

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("ns/packet", no_wrap=True)
    for name in (*PARTS, "total", "handed over"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in found:
        figures = [*(each.parts[name] for name in PARTS), each.total]
        cells = (f"{f.median:.1f} ±{(f.high - f.low) / 2:.1f}" for f in figures)
        table.add_row(each.policy, *cells, f"{each.remote:.0%}")
    console = Console()
    Console(width=max(_WIDTH, console.width)).print(table)
    for name, meaning in PARTS.items():
        print(f"{name}: {meaning}")
