"""``overspray twin strip`` and ``engine``: the packet engine on a capture, or on made frames."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prototype.cli import twin

if TYPE_CHECKING:
    from prototype.engine import Engine, Passage
    from prototype.engine_tables import Tables, Wanted
    from prototype.frames import Frames

_Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
_PolicyText = Annotated[str, typer.Option("--policy", help="NAME[:knob=value,…] or @PATH.")]
_Workers = Annotated[int, typer.Option(help="Worker threads (1 to 64), beside the NIC's.")]
_Restore = Annotated[bool, typer.Option(help="Hand the frames on in the order of the wire.")]


def register(app: typer.Typer) -> None:
    """Add ``twin strip`` and ``twin engine``."""
    group = twin(app)
    group.command()(strip)
    group.command()(engine)


def strip(
    capture: Annotated[Path, typer.Argument(metavar="IN.pcap", help="Frames from a NIC.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.pcap", help="Is written: inner frames.")],
    policy: _PolicyText = "backlog",
    workers: _Workers = 4,
    restore: _Restore = True,
    vni: Annotated[int | None, typer.Option(help="Only this VNI.")] = None,
    port: Annotated[int | None, typer.Option(help="Only this UDP port.")] = None,
    local: Annotated[str | None, typer.Option(help="Only to this VTEP address.")] = None,
    remote: Annotated[str | None, typer.Option(help="Only from this VTEP address.")] = None,
    mac: Annotated[str | None, typer.Option(help="MAC of the NIC; none: that of most.")] = None,
    as_json: _Json = False,
) -> None:
    """Take the tunnels off a capture, packet for packet as the kernel datapath would deliver.

    The tunnels are those that the capture names, unless options say which. What the kernel would
    leave to the stock stack is counted by name and not written.
    """
    from prototype.engine_tables import Wanted
    from prototype.frames import read, write
    from prototype.progress import counted
    from steering.errors import BadInput

    if out.exists() and capture.exists() and out.samefile(capture):
        raise BadInput(f"'{out}' is the capture itself: name another file for what comes out")
    wanted = Wanted(vni, port, local, remote, mac)
    with _engine(policy, workers) as made:
        with counted(f"read {capture.name}") as note:
            frames = read(capture, note)
        tables, passage = _through(made, frames, wanted, restore)
    with counted(f"write {out.name}", len(passage.out)) as note:
        write(out, passage.delivered, note)
    _show(_report(made, tables, passage), as_json)


def engine(
    policy: Annotated[str, typer.Argument(help="NAME[:knob=value,…] or @PATH.")] = "backlog",
    workers: _Workers = 4,
    packets: Annotated[int, typer.Option(help="How many frames (to 2 GiB of them).")] = 1_000_000,
    flows: Annotated[int, typer.Option(help="Flows, in turn.")] = 1,
    payload: Annotated[int, typer.Option(help="UDP payload, bytes (4 to 1422).")] = 18,
    restore: _Restore = True,
    as_json: _Json = False,
) -> None:
    """Run made frames through the engine as fast as it goes: rate, ns by stage, order."""
    from prototype.engine_tables import Wanted
    from prototype.frames import generate

    with _engine(policy, workers) as made:
        frames = generate(packets, flows, payload)
        tables, passage = _through(made, frames, Wanted(), restore)
    _show(_report(made, tables, passage), as_json)


def _engine(text: str, workers: int) -> "Engine":
    from prototype.engine import Engine
    from steering.registry import find
    from steering.spec import Spec

    spec = Spec.parse(text)
    policy = find(spec)
    return Engine(policy, policy.values(spec.args), workers)


def _through(
    engine: "Engine", frames: "Frames", wanted: "Wanted", restore: bool
) -> "tuple[Tables, Passage]":
    from prototype.progress import counted
    from steering.errors import BadInput
    from steering.hosted import PolicyFault

    tables = wanted.tables(engine.named(frames))
    engine.fill(tables)
    try:
        with counted("engine", len(frames)) as note:
            return tables, engine.run(frames, restore, note)
    except PolicyFault as fault:
        check = f"type 'overspray policy check {engine.policy.folder}'"
        raise BadInput(f"policy '{engine.policy.name}': {fault}; {check}") from None


def _report(engine: "Engine", tables: "Tables", passage: "Passage") -> dict[str, Any]:
    from dataclasses import asdict

    frames = len(passage.frames)
    return {
        "measured": "user space",
        "policy": engine.policy.name,
        "workers": engine.workers,
        "nic": tables.mac.hex(":"),
        "tunnels": tables.tunnel_texts(),
        "endpoints": len(tables.endpoints),
        "frames": frames,
        "delivered": len(passage.out),
        "damaged": passage.damaged,
        "counters": passage.counters,
        "policy_counters": engine.policy_counters(),
        "per_slot": passage.per_slot,
        "seconds": passage.seconds,
        "packets_per_second": frames / passage.seconds,
        "stages": [
            {**asdict(stage), "ns_per_packet": stage.each, "share": stage.share(passage.seconds)}
            for stage in passage.stages
        ],
        "waited_seconds": passage.waited / 1e9,
        "restored": passage.restored,
        "most_held": len(passage.held) - 1 if passage.restored else None,
        "order": asdict(passage.order().summary()),
    }


def _show(report: dict[str, Any], as_json: bool) -> None:
    if as_json:
        import json

        typer.echo(json.dumps(report, indent=1))
        return
    from steering.layout import header

    for tunnel in report["tunnels"]:
        typer.echo(f"tunnel: {tunnel}")
    typer.echo(f"NIC {report['nic']}, {report['endpoints']} container MAC(s) behind it\n")
    meanings = header("counters.h").descriptions
    counted = {name: count for name, count in report["counters"].items() if count}
    _table(
        ("frames", "counter", "which"),
        [
            (f"{count:,}", name, meanings[f"STEER_{name.upper()}"])
            for name, count in counted.items()
        ],
    )
    _table(
        ("stage", "threads", "packets", "ns/packet", "busy"),
        [
            (
                stage["name"],
                str(stage["threads"]),
                f"{stage['packets']:,}",
                f"{stage['ns_per_packet']:.0f}",
                f"{stage['share']:.0%}",
            )
            for stage in report["stages"]
        ],
    )
    typer.echo(_closing(report))


def _closing(report: dict[str, Any]) -> str:
    order = report["order"]
    lines = [
        f"{report['delivered']:,} of {report['frames']:,} frames delivered by '{report['policy']}' "
        f"with {report['workers']} workers, {report['packets_per_second'] / 1e6:.3g} million a "
        "second (user space, this machine's threads)",
        f"order of the flows: {order['reordered']:.1%} reordered, by {order['extent_max']} packets "
        "at most"
        + (f"; restored, {report['most_held']:,} held at most" if report["restored"] else ""),
    ]
    if report["damaged"]:
        lines.append(
            f"{report['damaged']:,} delivered frames have a wrong inner checksum or length: the "
            "container's stack drops them"
        )
    return "\n".join(lines)


def _table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        right = column not in ("counter", "which", "stage")
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(highlight=False).print(table)
