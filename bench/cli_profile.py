"""``overspray profile``: where the receive path spends its time, stage by stage."""

from typing import Annotated

import typer

from bench.options import AsJson, Core, Flows, Ip, OuterIp, Payload, Rate, SinkText, rate_of
from bench.traffic import Traffic
from steering.errors import BadInput


def register(app: typer.Typer) -> None:
    """Add ``profile``."""
    app.command("profile")(profile)


def profile(
    variants: Annotated[list[str], typer.Argument(help="[CASE/]STEERING[:KNOB=VALUE,…][+COALESCING] …")],
    payload: Payload = Traffic.payload,
    flows: Flows = Traffic.flows,
    rate: Rate = "full",
    ip: Ip = 4,
    outer_ip: OuterIp = 4,
    sink: SinkText = "count",
    seconds: Annotated[float, typer.Option(help="Of each run.")] = 3.0,
    core: Core = None,
    as_json: AsJson = False,
) -> None:
    """Sample each variant while packets come: ns of each core for a delivered packet, by stage."""
    if not 0 < seconds <= 60:
        raise BadInput(f"seconds {seconds:g} is out of range: choose from above 0 to 60")
    import json
    from dataclasses import asdict

    from bench.bed import Bed
    from bench.best_file import key, resolved
    from bench.profile import profile as sampled
    from bench.variant import Variant

    traffic = Traffic(payload, flows, rate=rate_of(rate))
    parsed = [Variant.parse(text) for text in variants]
    sent = key(traffic, ip, outer_ip, sink)
    parsed = resolved(parsed, sent, core, lambda text: typer.echo(text, err=True))
    found = []
    with Bed(parsed, traffic, core, ip=ip, outer_ip=outer_ip, sink=sink) as bed:
        for each in parsed:
            typer.echo(f"sampling {each} for {seconds:g} s", err=True)
            found.append(sampled(bed, each, seconds))
    if as_json:
        typer.echo(json.dumps([asdict(each) for each in found], indent=1))
        return
    for one in found:
        typer.echo(f"{one.variant}: {one.rate / 1e6:.2f} Mpps; ns for a delivered packet")
        names = dict.fromkeys(name for stages in one.stages.values() for name in stages)
        width = max(map(len, names), default=0)
        typer.echo(f"  {'':{width}}" + "".join(f"  {f'core {core}':>8}" for core in one.stages))
        for name in names:
            row = "".join(f"  {stages.get(name, 0):8.1f}" for stages in one.stages.values())
            typer.echo(f"  {name:{width}}{row}")
