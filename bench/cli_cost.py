"""``overspray cost``: nanoseconds a packet that the NIC stage takes, by part and policy."""

from typing import Annotated

import typer

from steering.errors import BadInput


def register(app: typer.Typer) -> None:
    """Add ``cost``."""
    app.command("cost")(cost)


def cost(
    policies: Annotated[
        list[str] | None, typer.Argument(help="POLICY[:KNOB=VALUE,…]; if left out, all on the shelf.")
    ] = None,
    rounds: Annotated[int, typer.Option(help="Interleaved rounds.", min=1)] = 15,
    core: Annotated[int | None, typer.Option(help="The core that runs it; if left out, the first.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure what the NIC stage costs: parsing and proving, finding the container, the policy's decision.

    By test runs with warm caches, medians of interleaved rounds. No lab, and no packet leaves the program.
    """
    import json
    from dataclasses import asdict

    from bench.cost import PARTS, measure
    from steering import cores, doctor, plan, policy
    from steering.spec import Spec

    core = cores.usable()[0] if core is None else core
    cores.require_usable(core)
    names = policies or policy.names()
    if len(set(names)) < len(names):
        raise BadInput("a policy is named twice: name each once")
    plans = [plan.read(Spec.parse(name), core) for name in names]
    doctor.require("capabilities", "BPF")
    found = measure(plans, core, rounds, lambda n: typer.echo(f"round {n}/{rounds}", err=True) if n else None)
    if as_json:
        rows = [{"named": name, **asdict(each)} for name, each in zip(names, found, strict=True)]
        typer.echo(json.dumps(rows, indent=2))
        return
    width = max(len(name) for name in names)
    typer.echo(f"{'ns a packet':{width}}  " + "  ".join(f"{part:>20}" for part in PARTS))
    for name, each in zip(names, found, strict=True):
        row = [f"{at.median:6.1f} [{at.low:.1f}, {at.high:.1f}]" for at in each.parts.values()]
        typer.echo(f"{name:{width}}  " + "  ".join(f"{text:>20}" for text in row))
