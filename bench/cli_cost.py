"""``overspray cost``: nanoseconds that our programs take: the NIC stage's parts, or the observers."""

from typing import Annotated

import typer

from bench.options import Ip, OuterIp
from steering.errors import BadInput

_OBSERVED_S = 1.0


def register(app: typer.Typer) -> None:
    """Add ``cost``."""
    app.command("cost")(cost)


def cost(
    policies: Annotated[
        list[str] | None, typer.Argument(help="POLICY[:KNOB=VALUE,…]; if left out, all on the shelf.")
    ] = None,
    rounds: Annotated[int, typer.Option(help="Interleaved rounds.", min=1)] = 15,
    core: Annotated[int | None, typer.Option(help="The core that runs it; if left out, the first.")] = None,
    observers: Annotated[
        str | None, typer.Option(help="Instead: what the observers cost while this variant runs.")
    ] = None,
    ip: Ip = 4,
    outer_ip: OuterIp = 4,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure what the NIC stage costs: parsing and proving, finding the container, the policy's decision.

    By test runs with warm caches, medians of interleaved rounds. No lab, and no packet leaves the program.
    With --observers VARIANT: what each program of the observers adds, in a run of that variant.
    """
    if observers is not None:
        if policies:
            raise BadInput("--observers runs a variant: name no policies")
        _observers(observers, core, ip, outer_ip, as_json)
        return
    import json
    from dataclasses import asdict

    from bench.cost import PARTS, measure
    from bench.lab_plan import Plan
    from steering import cores, doctor, plan, policy
    from steering.spec import Spec

    core = cores.usable()[0] if core is None else core
    cores.require_usable(core)
    names = policies or policy.names()
    if len(set(names)) < len(names):
        raise BadInput("a policy is named twice: name each once")
    plans = [plan.read(Spec.parse(name), core) for name in names]
    lab = Plan("flannel", inner=ip, outer=outer_ip)
    doctor.require("capabilities", "BPF")

    def done(number: int) -> None:
        if number:
            typer.echo(f"round {number}/{rounds}", err=True)

    found = measure(plans, core, rounds, done, lab=lab)
    if as_json:
        about = {"ip": ip, "outer_ip": outer_ip}
        rows = [{"named": name, **about, **asdict(each)} for name, each in zip(names, found, strict=True)]
        typer.echo(json.dumps(rows, indent=2))
        return
    width = max(len(name) for name in names)
    typer.echo(f"{'ns a packet':{width}}  " + "  ".join(f"{part:>20}" for part in PARTS))
    for name, each in zip(names, found, strict=True):
        row = [f"{at.median:6.1f} [{at.low:.1f}, {at.high:.1f}]" for at in each.parts.values()]
        typer.echo(f"{name:{width}}  " + "  ".join(f"{text:>20}" for text in row))


def _observers(text: str, core: int | None, ip: int, outer_ip: int, as_json: bool) -> None:
    import json
    from dataclasses import asdict

    from bench.bed import Bed
    from bench.cost import watching
    from bench.traffic import Traffic
    from bench.variant import Variant

    variant = Variant.parse(text)
    with Bed([variant], Traffic(), core, ip=ip, outer_ip=outer_ip) as bed:
        found = watching(bed, variant, _OBSERVED_S)
    if as_json:
        typer.echo(
            json.dumps([{**asdict(each), "ns_a_packet": each.ns_a_packet} for each in found], indent=2)
        )
        return
    typer.echo(f"{variant}: what each observer adds")
    typer.echo(f"{'event':26}  {'events a packet':>15}  {'ns an event':>11}  {'ns a packet':>11}")
    for each in found:
        ns = "-" if each.ns is None else f"{each.ns:.1f}"
        when = "" if each.every_run else "  only to explain losses"
        typer.echo(f"{each.event:26}  {each.events:15.4f}  {ns:>11}  {each.ns_a_packet:11.2f}{when}")
    total = sum(each.ns_a_packet for each in found if each.every_run)
    typer.echo(f"in every run: {total:.1f} ns a delivered packet, on all cores together")
