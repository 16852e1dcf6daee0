"""``overspray wire bench``: how fast the wire is by itself."""

from typing import Annotated

import typer

from bench.lab_plan import CASES
from bench.options import AsJson, Batch, Flows, Ip, OuterIp, Payload
from bench.traffic import Traffic


def register(app: typer.Typer) -> None:
    """Add ``wire`` with its sub-command."""
    group = typer.Typer(help="The wire: what stands for the other machine.", no_args_is_help=True)
    group.callback()(lambda: None)  # so that a group of one command stays a group
    group.command("bench")(bench)
    app.add_typer(group, name="wire")


def bench(
    frames: Annotated[int, typer.Option(help="Frames a round, exactly.", min=1)] = 3_000_000,
    rounds: Annotated[int, typer.Option(help="How many rounds.", min=1)] = 5,
    payload: Payload = Traffic.payload,
    flows: Flows = Traffic.flows,
    batch: Batch = Traffic.batch,
    case: Annotated[
        str, typer.Option(help=f"Whose frames, bare or in a tunnel: {', '.join(CASES)}.")
    ] = "native",
    ip: Ip = 4,
    outer_ip: OuterIp = 4,
    core: Annotated[
        int | None, typer.Option(help="The core that sends, and receives; if left out, the first.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Send exactly N frames a round into an XDP program that drops them, and count them there.

    In a lab of its own, which is gone afterwards. Exit code 1 when a frame is unaccounted for.
    """
    import json

    from bench import frame
    from bench.lab import lab
    from bench.lab_plan import Plan
    from bench.wire import NEEDS
    from bench.wire_rate import measure, summary
    from steering import cores, doctor

    traffic, plan = Traffic(payload, flows, batch), Plan(case, inner=ip, outer=outer_ip)
    frame.build(plan, payload)  # says so where it does not fit
    if core is not None:
        cores.require_usable(core)
    doctor.require(*NEEDS, *["IPv6"] * (6 in (ip, outer_ip)))
    core = cores.usable()[0] if core is None else core
    done = []
    with lab(case, inner=ip, outer=outer_ip) as up:
        for each in measure(up, traffic, core, frames, rounds):
            done.append(each)
            typer.echo(f"round {len(done)}/{rounds}: {each.rate / 1e6:.2f} Mpps", err=True)
    rate = summary(done)
    if as_json:
        report = {
            **{"case": case, "ip": ip, "outer_ip": outer_ip, "traffic": traffic.as_dict()},
            **{"core": core, "frames": frames},
            **{"rate": rate, "rounds": [each.as_dict() for each in done], "host": doctor.host()},
        }
        typer.echo(json.dumps(report, indent=2))
        return
    spread = f"{rate['low'] / 1e6:.2f} to {rate['high'] / 1e6:.2f}"
    typer.echo(f"{rate['median'] / 1e6:.2f} Mpps, median of {rounds} rounds ({spread})")
    typer.echo(f"{sum(each.sent for each in done)} frames sent; of these")
    _print_counts({"frames": sum(each.seen for each in done)}, "seen_counter")
    drops = {name: sum(each.drops[name] for each in done) for name in done[0].drops}
    _print_counts(drops, "wire_counter")


def _print_counts(counts: dict[str, int], enum: str) -> None:
    """Counters with the words that counters.h has for them."""
    from steering.layout import counter_words

    words = counter_words(enum)
    for name, count in counts.items():
        typer.echo(f"{count:>14}  {name:12}  {words[name]}")
