"""``overspray stock-best``: the best that stock Linux can do for a traffic, found by a saved sweep."""

from pathlib import Path
from typing import Annotated

import typer

from bench.lab_plan import CASES, Plan
from bench.options import AsJson, Batch, Core, Flows, Ip, Mtu, OuterIp, Payload, Seed, SinkText
from bench.traffic import Traffic
from steering.errors import BadInput

LONGEST_S = 60.0


def register(app: typer.Typer) -> None:
    """Add ``stock-best``."""
    app.command("stock-best")(stock_best)


def stock_best(
    case: Annotated[str, typer.Option(help="native, linux, flannel or docker.")] = "docker",
    payload: Payload = Traffic.payload,
    flows: Flows = Traffic.flows,
    batch: Batch = Traffic.batch,
    mtu: Mtu = Plan.inner_mtu,
    ip: Ip = 4,
    outer_ip: OuterIp = 4,
    sink: SinkText = "count",
    core: Core = None,
    seconds: Annotated[float, typer.Option(help="Seconds of each run of the last few variants.")] = 0.5,
    rounds: Annotated[int, typer.Option(help="Their rounds; fewer than 6 support no verdict.", min=1)] = 9,
    seed: Seed = 1,
    among: Annotated[
        list[str] | None, typer.Option(help="STEERING[+COALESCING…] to try in place of all; may be repeated.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The file to be; if left out, below results/stock-best/.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find the best of stock Linux for a traffic at full rate, and save the sweep; minutes.

    Tried are: RPS at the NIC, the tunnel and the containers' ends, alone and together, each with and without
    the NIC's core; RFS, where one flow is read; RSS, where there are several; with every kind of GRO; with
    and without threads that poll the NIC. A few short runs of all, more of the best quarter, and so on; the
    last ones meet in the same rounds, and the result says how sure it is. Later commands with such a sink
    know it, in this folder, as CASE/stock-best (without=gro-list: the best that does without).
    """
    if not 0 < seconds <= LONGEST_S:
        raise BadInput(f"seconds {seconds:g} is out of range: choose from above 0 to {LONGEST_S:g}")
    from bench.variant import Variant
    from steering import cores
    from steering.errors import unknown

    if case not in CASES:
        raise unknown("case", case, CASES)
    traffic = Traffic(payload, flows, batch)
    nic_core = cores.usable()[0] if core is None else core
    cores.require_usable(nic_core)
    named = [Variant.parse(f"{case}/{text}") for text in among or ()]
    for variant in named:
        variant.check(nic_core)

    import json

    from bench.best_file import FOLDER, Saving, key, place
    from bench.progress import noted
    from bench.rounds import Timing
    from bench.stock_best import candidates, lines, possible, stages, sweep
    from steering import doctor

    def say(text: str) -> None:
        typer.echo(text, err=True)

    doctor.require("capabilities", "BPF")
    timing = Timing(rounds, seconds, seed)
    variants = named or possible(candidates(case, nic_core, flows, sink != "count"), say)
    needed = sum(turn.needs(count) for count, turn in stages(len(variants), timing))
    say(f"{len(variants)} variants: about {needed:.0f} s")
    lab = {"mtu": mtu, "ip": ip, "outer_ip": outer_ip, "sink": sink}
    with Saving(out or place(case, key(traffic, ip, outer_ip, sink))) as saving, noted() as note:
        saved = sweep(variants, traffic, timing, core, lab, saving, note, say)
    if as_json:
        typer.echo(json.dumps({"file": str(saving.path), **saved}, indent=2))
        return
    for line in lines(saved):
        typer.echo(line)
    typer.echo(f"saved as {saving.path}")
    if saving.path.parent.resolve() != FOLDER.resolve():
        say(f"CASE/stock-best is looked for below {FOLDER} alone")
