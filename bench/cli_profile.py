"""``overspray profile``: where the receive path spends its time, stage by stage."""

from typing import TYPE_CHECKING, Annotated

import typer

from bench import options

if TYPE_CHECKING:
    from bench.stages import Profile


def register(app: typer.Typer) -> None:
    """Add the command ``profile``."""
    app.command("profile")(profile)


def profile(
    variant: Annotated[list[str], typer.Argument(help="[CASE/]STEERING[:K=V,…][+COALESCING]…")],
    traffic: options.Traffic = "udp",
    payload: options.Payload = 18,
    flows: options.Flows = 1,
    sink: options.SinkText = "",
    seconds: Annotated[float, typer.Option(min=1.0, help="Of each run.")] = 3.0,
    mtu: options.Mtu = 1500,
    nic_core: options.NicCore = 0,
    workers: options.Workers = "",
    app: options.App = None,
    lab: options.LabName = "osp",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Sample each variant at full rate: ns of each core for a delivered packet, by stage."""
    import json

    from bench.bed import Bed, BedSpec, check
    from bench.profile import profile as sampled
    from bench.run import Load
    from bench.traffic import Traffic as Sent
    from bench.variant import Variant
    from steering.doctor import require

    variants = [Variant.parse(text) for text in variant]
    placement = options.Cores(nic_core, workers, app).placement()
    for each in variants:
        check(each, placement)
    point = options.point(tuple(variants), traffic, payload, flows, "max", "constant", sink)
    require()
    load = Load(Sent(payload, flows, kind=point.traffic), point.sink, seconds, 0.0)
    found = []
    with (
        Bed(placement, BedSpec(lab, mtu=mtu)) as bed,
        options.told("profile", len(variants)) as (note, step),
    ):
        for each in variants:
            note(f"{each}")
            found.append(sampled(bed, each, load))
            step()
    if as_json:
        profiles = [{**vars(one), "ns_per_packet": one.per_packet()} for one in found]
        typer.echo(json.dumps({"point": point.id, "profiles": profiles}, indent=1))
        return
    _print(found)


def _print(found: "list[Profile]") -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    for one in found:
        rates = one.per_packet()
        stages = dict.fromkeys(name for core in rates.values() for name in core)
        title = f"{one.variant}: ns a packet, {one.delivered / one.seconds / 1e6:.2f} Mpps"
        table = Table("stage", title=title, box=None, header_style="bold", title_justify="left")
        for core in rates:
            table.add_column(f"core {core}", justify="right")
        for name in stages:
            table.add_row(name, *(f"{core.get(name, 0):.0f}" for core in rates.values()))
        console.print(table)
