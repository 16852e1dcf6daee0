"""``overspray top``: what attached policies do, as it happens."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Annotated, Any

import typer


def register(app: typer.Typer) -> None:
    """Add ``top``."""
    app.command()(top)


def top(
    device: Annotated[str, typer.Argument(metavar="[DEVICE]", help="That NIC alone; else all.")] = "",
    interval: Annotated[
        float, typer.Option(min=0.1, max=3600, help="Seconds from one look to the next.")
    ] = 1,
    count: Annotated[int, typer.Option(min=0, help="End after so many looks; 0: at ^C.")] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON list a look, each on a line.")
    ] = False,
) -> None:
    """Show what each core does now: packets, share, queue, losses, frames a bulk and an skb, order, until ^C.

    Reordered is the share of a core's packets that came to their delivery, before GRO, behind a later one
    of their flow. Meanwhile they bear numbers in their tunnel's headers, which costs a little.

    Where stdout is no terminal one table follows the other.
    """
    from rich.console import Console, Group
    from rich.live import Live

    from steering.top import tables

    looks = _looks(device, interval, count)
    if as_json:
        for found in looks:
            print(json.dumps(found), flush=True)
        return
    console = Console()
    if not console.is_terminal:
        for found in looks:
            console.print(Group(*tables(found)))
        return
    with Live(console=console, auto_refresh=False) as live:
        for found in looks:
            live.update(Group(*tables(found)), refresh=True)


def _looks(device: str, interval: float, count: int) -> Iterator[list[dict[str, Any]]]:
    """What happened in each interval, NIC by NIC; ends when nothing is attached any more."""
    from steering import attached, control
    from steering.errors import BadInput, OversprayError
    from steering.top import between

    chosen = [attached.choose(device)] if device else []
    watched = set()
    with ExitStack() as watching:

        def ask() -> dict[int, dict[str, Any]]:
            found = {}
            for each in chosen or attached.holders():
                if each not in watched:
                    with suppress(OversprayError):  # others watch already, or it is of an older version
                        watching.enter_context(control.asking(each.pid, {"ask": "watch"}))
                        watched.add(each)
                with suppress(OversprayError):  # it has ended meanwhile
                    found[each.pid] = control.ask(each.pid, {"ask": "status"})
            return found

        before, moment, number = ask(), time.monotonic(), 0
        if not before:
            raise BadInput("nothing is attached: type 'overspray attach DEVICE'")
        while not count or number < count:
            time.sleep(interval)
            now, then, moment = ask(), moment, time.monotonic()
            if not now:
                return
            yield [between(before[pid], each, moment - then) for pid, each in now.items() if pid in before]
            before, number = now, number + 1
