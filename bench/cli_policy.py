"""``overspray policy list|show|new|check``: the shelf, and the life of a policy of one's own."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from prototype.check import Report
    from steering.knobs import Knob
    from steering.policy import Policy
    from steering.stock import Stock

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Named = Annotated[
    str, typer.Argument(metavar="NAME|PATH", help="A policy on the shelf, or the folder of one's own.")
]
_NARROWEST = 80
"""Columns below which a terminal's wrapping reads better than ours."""


def register(app: typer.Typer) -> None:
    """Add ``policy`` with its sub-commands."""
    group = typer.Typer(help="List, show, write and check steering policies.", no_args_is_help=True)
    group.command("list")(list_)
    group.command("show")(show)
    group.command("new")(new)
    group.command("check")(check)
    app.add_typer(group, name="policy")


def list_(as_json: _Json = False) -> None:
    """List the policies on the shelf, and the stock steering that they are compared with."""
    from steering import policy
    from steering.spec import Spec

    shelf = [policy.find(Spec.parse(name)) for name in policy.names()]
    if as_json:
        _print_json(
            [_policy_as_dict(each) for each in shelf]
            + [_stock_as_dict(name, each) for name, each in _stock().items()]
        )
        return
    _print_table(
        ("name", "order", "knobs", "summary"),
        [
            *((each.name, str(each.order), _defaults(each.knobs), each.summary) for each in shelf),
            *((name, "as Linux", _defaults(each.knobs), each.summary) for name, each in _stock().items()),
        ],
    )


def show(named: _Named, as_json: _Json = False) -> None:
    """Show everything about a policy: order, knobs, when it is good and when it drowns, its files."""
    if offered := _stock().get(named):
        if as_json:
            _print_json(_stock_as_dict(named, offered))
        else:
            typer.echo(f"{named}: {offered.summary}\nstock Linux, configured and put back")
            _print_knobs(offered.knobs)
        return
    found = _policy(named)
    if as_json:
        _print_json(_policy_as_dict(found))
        return
    typer.echo(f"{found.name}: {found.summary}")
    typer.echo(f"order   {found.order}")
    typer.echo(f"good    {found.good}")
    typer.echo(f"drowns  {found.drowns}")
    needs = ["a clock for every packet"] * found.needs_time
    needs += ["a clock and a look for every batch of a worker"] * found.needs_through
    typer.echo(f"needs   {', '.join(needs) or 'nothing of the kernel'}")
    typer.echo(f"files   {found.header}\n        {found.folder / 'policy.py'}")
    _print_knobs(found.knobs)


def new(
    name: Annotated[str, typer.Argument(help="Its name: small letters, digits, '-'.")],
    where: Annotated[Path, typer.Option("--in", metavar="DIR", help="Where to make its folder.")] = Path(),
) -> None:
    """Write a policy of one's own to begin with: it compiles, passes check, and explains itself."""
    from steering.policy import write

    folder = write(name, where)
    typer.echo(
        f"{folder / 'policy.h'}   the decision\n{folder / 'policy.py'}  its knobs, and what it promises"
    )
    shown = folder if folder.is_absolute() else f"./{folder}"
    typer.echo(f"type 'overspray policy check {shown}', then 'overspray ab flannel/local flannel/@{shown}'")


def check(named: _Named, as_json: _Json = False) -> None:
    """Find what is wrong with a policy before it is attached. Exit code 2 where something is.

    Does it compile for kernel and user space, does the verifier take it, do both decide alike on seeded
    traces, does it keep the order that it promises, what does a decision cost. The kernel's half needs root:
    without, the exit code is 1.
    """
    from prototype.check import check as checking
    from steering.errors import BadInput, OversprayError

    report = checking(_policy(named), lambda text: typer.echo(f"{text} …", err=True))
    if as_json:
        _print_json(report.as_dict())
    else:
        _print_report(report)
    if report.problems:
        count = len(report.problems)
        raise BadInput(f"policy '{report.policy.name}': {count} problem{'s' if count > 1 else ''}")
    if report.not_looked_at:
        raise OversprayError(f"the kernel's half was not looked at: {report.not_looked_at}")


def _stock() -> "dict[str, Stock]":
    from steering.stock import STEERING, Stock

    return STEERING | {"stock-best": Stock("the best of them, as 'overspray stock-best' found it")}


def _policy(named: str) -> "Policy":
    """On the shelf, or in a folder, with ``@`` or without."""
    from steering import policy
    from steering.spec import Spec

    if named in policy.names() or not ("/" in named or named.startswith("@") or Path(named).is_dir()):
        return policy.find(Spec.parse(named))
    return policy.load(Path(named.removeprefix("@")).expanduser())


def _print_report(report: "Report") -> None:
    for problem in report.problems:
        typer.echo(str(problem))
    if report.instructions is not None:
        since = "" if report.before is None else f", {report.before:,} last time"
        typer.echo(f"verifier  looked at {report.instructions:,} instructions of the NIC stage{since}")
    if not report.decided or report.problems:
        return
    if report.compared:
        typer.echo(f"alike     {report.compared:,} packets, in the kernel and in user space")
    settings = f"{report.settings} setting{'s' if report.settings > 1 else ''} of the knobs"
    typer.echo(f"order     '{report.policy.order}' kept by {report.decided:,} packets, {settings}")
    typer.echo(f"decision  {report.decision_ns:.1f} ns in user space, its caches warm")


def _defaults(knobs: "Mapping[str, Knob]") -> str:
    return ", ".join(name if _is_mask(knob) else f"{name}={knob.default}" for name, knob in knobs.items())


def _is_mask(knob: "Knob") -> bool:
    """Whether 0, which no one may write, stands for it left out."""
    return not knob.low <= knob.default <= knob.high


def _print_knobs(knobs: "Mapping[str, Knob]") -> None:
    if knobs:
        rows = [
            (
                name,
                "" if _is_mask(knob) else str(knob.default),
                "" if _is_mask(knob) else f"{knob.low} to {knob.high}",
                knob.unit,
                knob.help,
            )
            for name, knob in knobs.items()
        ]
        _print_table(("knob", "default", "range", "unit", "what it is"), rows)


def _policy_as_dict(policy: "Policy") -> dict[str, Any]:
    return {
        "name": policy.name,
        "kind": "policy",
        "summary": policy.summary,
        "order": policy.order,
        "knobs": _knobs_as_dict(policy.knobs),
        "good": policy.good,
        "drowns": policy.drowns,
        "needs_time": policy.needs_time,
        "needs_through": policy.needs_through,
        "contract": policy.contract,
        "files": [str(policy.header), str(policy.folder / "policy.py")],
    }


def _stock_as_dict(name: str, stock: "Stock") -> dict[str, Any]:
    return {"name": name, "kind": "stock", "summary": stock.summary, "knobs": _knobs_as_dict(stock.knobs)}


def _knobs_as_dict(knobs: "Mapping[str, Knob]") -> dict[str, Any]:
    from dataclasses import asdict

    return {name: asdict(knob) for name, knob in knobs.items()}


def _print_json(found: Any) -> None:
    import json

    typer.echo(json.dumps(found, indent=2))


def _print_table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, no_wrap=place == 0, overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    console = Console()
    console.width = max(console.width, _NARROWEST)
    console.print(table)
