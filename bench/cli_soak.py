"""``overspray soak``: hours under change, every packet accounted for."""

import json
import os
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from bench import options


def register(app: typer.Typer) -> None:
    """Add ``soak``."""
    app.command()(soak)


def soak(
    time: Annotated[str, typer.Option("--for", help="How long: 90s, 10m, 8h.")] = "10m",
    rate: Annotated[int, typer.Option(min=1000, help="Packets a second.")] = 200_000,
    seed: Annotated[int, typer.Option(min=0, help="Of what happens, and when.")] = 1,
    containers: Annotated[int, typer.Option(min=3, max=80, help="Of the lab.")] = 6,
    deliver: Annotated[str, typer.Option(help="peer or veth.")] = "peer",
    swaps: Annotated[float, typer.Option(min=0.1, help="Of policies, a second.")] = 10.0,
    cycles: Annotated[
        float, typer.Option(min=0.1, help="Containers that go and come back, a second.")
    ] = 1.0,
    keep: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write the JSON object there, as it grows."),
    ] = None,
    lab: Annotated[str, typer.Option("--lab", help="Name of the lab to make.")] = "soak",
    as_json: options.Json = False,
) -> None:
    """Keep an attached datapath under load while all that can change does.

    Policies are swapped, knobs set, containers and their links go and come, flows start and end.
    Every few seconds the wire stops: then each flow's packets must all have arrived, where they
    belong. Exit code 1 if any that the NIC took was lost, misdelivered or doubled, the controller's
    memory grew by a quarter, or the kernel complained. ^C ends it and shows what it has.
    """
    from bench.soak import SoakSpec, Tally, rounds_of
    from bench.soak import soak as run
    from steering import files
    from steering.doctor import require
    from steering.errors import BadInput

    spec = SoakSpec(
        _seconds(time), seed, rate, containers, deliver, swaps=swaps, cycles=cycles, name=lab
    )
    require()
    command = f"overspray soak --for {time} --rate {rate} --seed {seed} --containers {containers}"
    command += f" --swaps {swaps:g} --cycles {cycles:g}"
    if deliver != "peer":
        command += f" --deliver {deliver}"

    def plain(found: Tally) -> dict[str, Any]:
        return {"command": command, **found.as_dict()}

    def kept(found: Tally) -> None:
        if keep is not None:
            files.replace(keep, json.dumps(plain(found), indent=1) + "\n")

    if keep is not None and not os.access(keep.parent, os.W_OK):
        raise BadInput(f"--keep {keep}: no file can be made in '{keep.parent}': name another")
    with options.told("soak", rounds_of(spec)) as (note, step):

        def done(so_far: Tally) -> None:
            kept(so_far)
            step()

        found = run(spec, note, done)
    if as_json:
        print(json.dumps(plain(found), indent=1))
    else:
        _print(plain(found))
    kept(found)
    if not found.ok:
        raise typer.Exit(1)


def _seconds(text: str) -> float:
    """BadInput for what is no length of time."""
    from steering.errors import BadInput

    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if found is None or float(found[1]) == 0:
        raise BadInput(f"--for {text}: a time is wanted, such as 90s, 10m or 8h")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]]


def _print(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    events, memory, latency = result["events"], result["memory"], result["latency_ns"]
    rows = {
        "packets": f"{result['packets']:,} in {result['seconds']:,.0f} s, {result['flows']} flows",
        "lost, misdelivered, doubled": (
            f"{result['lost']:,}, {result['misdelivered']:,}, {result['doubled']:,}"
        ),
        "lost by name": ", ".join(f"{k} {v:,}" for k, v in result["drops"].items()) or "-",
        "missed by the NIC": f"{result['missed_by_nic']:,}",
        "lost without a name": f"{result['unnamed']:,}",
        "not accounted for": f"{result['unaccounted'] + result['strays']:,}",
        "by the stock path": f"{result['stock_path']:,}",
        "swaps, knobs": f"{events.get('swaps', 0):,}, {events.get('knobs', 0):,}",
        "containers, links gone and back": (
            f"{events.get('containers', 0):,}, {events.get('links', 0):,}"
        ),
        "kernel's complaints": f"{len(result['kernel'])}",
    }
    for name, what in (("resident", "memory, MiB"), ("maps", "maps, MiB")):
        ends = memory.get(name, {})
        rows[what] = " to ".join(f"{ends[end] / 2**20:.1f}" for end in ("first", "last") if ends)
    for q in ("p50", "p99"):
        ends = [latency[end][q] for end in ("first", "last")]
        rows[f"latency {q}, us"] = " to ".join("-" if e is None else f"{e / 1e3:.0f}" for e in ends)
    table = Table(box=None, show_header=False)
    for name, value in rows.items():
        table.add_row(name, value)
    Console(highlight=False).print(table)
    for line in result["kernel"]:
        print(f"kernel: {line}")
    if result["failure"]:
        print(result["failure"])
    print("as wanted" if result["ok"] else f"NOT as wanted: {', '.join(result['wrong'])}")
