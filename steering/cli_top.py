"""``overspray top``: what each core does, live."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from steering.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from rich.console import RenderableType

    from steering.control import Address
    from steering.top import CoreRates, Rates

_SHORTEST = 0.05


def register(app: typer.Typer) -> None:
    """Add ``top``."""
    app.command()(top)


def top(
    device: Annotated[str | None, typer.Argument(help="A NIC; none: the one attached.")] = None,
    ns: Annotated[
        str | None,
        typer.Option("--netns", help="Its network namespace, where several have such a device."),
    ] = None,
    interval: Annotated[float, typer.Option(help="Seconds between two looks.")] = 1.0,
    count: Annotated[int, typer.Option(min=0, help="Looks; 0: until ^C.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Show live what each core does, what was dropped or passed, and the policy's own counters.

    arrived, packets, lost: a second; packets are those taken through the stack here. queue: waiting
    for this worker. bulk: packets to one go of its thread. merge: packets to one skb after GRO.
    moved: of 1000 deliveries those on another core than the one before of their flow, the most that
    can be seen of a datagram's order. back: TCP segments that start before one that was seen
    already. Both are watched only while this runs.
    """
    from steering.preflight import require_state

    if interval < _SHORTEST:
        raise BadInput(f"--interval {interval:g}: at least {_SHORTEST:g} seconds")
    require_state("a look")
    address = _address(device, ns)
    looks = _looks(address, interval, count)
    try:
        if as_json:
            _print_lines(looks)
        else:
            _show(address, looks)
    except KeyboardInterrupt:
        return


def _address(device: str | None, ns: str | None) -> "Address":
    from steering import control

    if device is not None:
        return control.find(device, control.read_namespace(ns))
    found = control.listed()
    if len(found) == 1:
        return found[0]
    if not found:
        raise BadInput("nothing is attached: type 'overspray attach' first")
    raise BadInput(f"which one? choose from {', '.join(map(str, found))}")


def _looks(address: "Address", interval: float, count: int) -> "Iterator[Rates]":
    """One after each interval; a swap of the policy costs one."""
    import time

    from steering.control import ask
    from steering.top import rates

    before: dict[str, Any] = ask(address, {"do": "sample"}, None)  # the first look compiles
    done = 0
    while not count or done < count:
        time.sleep(interval)
        now = ask(address, {"do": "sample"}, None)
        found = rates(before, now)
        before = now
        if found is not None:
            done += 1
            yield found


def _print_lines(looks: "Iterator[Rates]") -> None:
    import json

    for each in looks:
        print(json.dumps(each.as_dict()), flush=True)


def _show(address: "Address", looks: "Iterator[Rates]") -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    if not console.is_terminal:
        for each in looks:
            console.print(picture(str(address), each))
        return
    with Live(console=console, auto_refresh=False, transient=False) as live:
        for each in looks:
            live.update(picture(str(address), each), refresh=True)


def picture(where: str, found: "Rates") -> "RenderableType":
    """Everything of one interval, for a terminal."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    cores = Table(box=None, header_style="bold", pad_edge=False)
    cores.add_column("core", justify="right")
    cores.add_column("role", no_wrap=True)
    for name in _COLUMNS:
        cores.add_column(name, justify="right")
    for core in found.cores:
        cores.add_row(str(core.core), core.role, *(cell(core) for cell in _COLUMNS.values()))
    named = Table(box=None, show_header=False, pad_edge=False)
    named.add_column()
    named.add_column(justify="right")
    named.add_column()
    for name, rate in found.counters.items():
        named.add_row(f"{found.policy}: {name}", f"{rate:,.0f}/s", found.meanings.get(name, ""))
    for name, rate in found.reasons.items():
        named.add_row(name, f"{rate:,.0f}/s", "")
    head = Text(f"{where}: {found.policy}, {found.seconds:.1f} s", style="bold")
    return Group(head, cores, Text(""), named, Text(""))


def _optional(value: float | None, form: str = ".1f") -> str:
    return "-" if value is None else format(value, form)


_COLUMNS: "Mapping[str, Callable[[CoreRates], str]]" = {
    "arrived": lambda c: f"{c.arrived:,.0f}",
    "packets": lambda c: f"{c.packets:,.0f}",
    "share": lambda c: f"{c.share:.0%}",
    "queue": lambda c: _optional(c.queue, "d"),
    "lost": lambda c: f"{c.lost:,.0f}",
    "bulk": lambda c: _optional(c.bulk),
    "merge": lambda c: _optional(c.merge),
    "moved": lambda c: _optional(c.moved),
    "back": lambda c: _optional(c.back),
}
