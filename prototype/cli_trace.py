"""``overspray twin trace``: a few packets followed through the model."""

import json
from pathlib import Path
from typing import Annotated

import typer

from prototype.cli import twin

_MOST_UNITS = 100_000


def register(app: typer.Typer) -> None:
    """Add ``trace`` to ``twin``."""
    twin(app).command()(trace)


def trace(
    variant: Annotated[
        str, typer.Argument(metavar="POLICY", help="[CASE/]STEERING[:knob=value,…][+gro-list]")
    ],
    cores: Annotated[int, typer.Option(help="Of the machine.")] = 2,
    payload: Annotated[int, typer.Option(help="Bytes.")] = 18,
    flows: Annotated[int, typer.Option(help="Flows (1 to 1024).")] = 1,
    rate: Annotated[
        float | None, typer.Option(help="Packets a second over all flows; none: all that goes.")
    ] = None,
    lab: Annotated[bool, typer.Option(help="The lab's wire instead of a NIC.")] = False,
    units: Annotated[int, typer.Option(help="Units of work to follow, from the start.")] = 2000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same trace.")] = 1,
    out: Annotated[
        Path, typer.Option(help="Trace for Perfetto or Chrome's viewer, is written.")
    ] = Path("trace.json"),
    plot: Annotated[Path | None, typer.Option(help="Picture to write, PNG or SVG.")] = None,
    costs: Annotated[
        Path | None, typer.Option("--costs", help="What 'twin calibrate' wrote.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Follow packets core by core, and say why the first ones were reordered."""
    from prototype import trace as tracing
    from prototype.costs import Costs, reference
    from prototype.model import simulate
    from prototype.model_load import Load, Machine
    from prototype.model_path import Setup
    from steering.errors import BadInput

    if not 1 <= units <= _MOST_UNITS:
        raise BadInput(f"units {units}: 1 to {_MOST_UNITS}")
    setup = Setup.parse(variant)
    load = Load(payload=payload, flows=flows, rate=rate, seconds=0.02, warmup=0.0, seed=seed)
    stages = Costs.read(costs) if costs else reference()
    outcome = simulate(setup, Machine(cores=cores, lab=lab), load, stages, traced=units)
    found = tracing.overtakings(outcome.trace)
    try:
        out.write_text(json.dumps(tracing.events(outcome.trace)) + "\n")
        if plot:
            tracing.picture(outcome.trace, found, plot, f"{setup} (simulated)")
    except (OSError, ValueError) as error:
        raise BadInput(f"write the trace: {error}") from None
    if as_json:
        more = {"units": len(outcome.trace), "overtakings": [vars(each) for each in found]}
        typer.echo(json.dumps({"source": "twin", "variant": str(setup), "out": str(out)} | more))
        return
    typer.echo(f"{out}: {len(outcome.trace)} units of work, simulated; open it at ui.perfetto.dev")
    for line in tracing.told(outcome.trace, found):
        typer.echo(line)
    if not found:
        typer.echo("no packet was overtaken")
