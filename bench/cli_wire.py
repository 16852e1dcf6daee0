"""``overspray wire bench``: how fast the wire is by itself."""

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add ``wire`` with its sub-command."""
    group = typer.Typer(help="The wire: what stands for the other machine.", no_args_is_help=True)
    group.callback()(lambda: None)  # so that a group of one command stays a group
    group.command("bench")(bench)
    app.add_typer(group, name="wire")


def bench(
    frames: Annotated[int, typer.Option(help="Frames a round, exactly.", min=1)] = 3_000_000,
    rounds: Annotated[int, typer.Option(help="How many rounds.", min=1)] = 5,
    payload: Annotated[int, typer.Option(help="Bytes a datagram, 18 to 1400.")] = 18,
    flows: Annotated[int, typer.Option(help="How many flows, sent in turn; 1 to 4096.")] = 1,
    batch: Annotated[int, typer.Option(help="Frames put on the wire at once, 1 to 256.")] = 128,
    core: Annotated[int, typer.Option(help="The core that sends, and receives.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Send exactly N frames a round into an XDP program that drops them, and count them there.

    In a lab of its own, which is gone afterwards. Exit code 1 when a frame is unaccounted for.
    """
    import json
    from dataclasses import asdict

    from bench.frame import check_payload
    from bench.lab import lab
    from bench.wire import NEEDS, Traffic
    from bench.wire_rate import measure, summary
    from steering.cores import require_usable
    from steering.doctor import host, require

    traffic = Traffic(payload, flows, batch)
    check_payload(payload)
    require_usable(core)
    require(*NEEDS)
    done = []
    with lab("native") as up:
        for each in measure(up, traffic, core, frames, rounds):
            done.append(each)
            typer.echo(f"round {len(done)}/{rounds}: {each.rate / 1e6:.2f} Mpps", err=True)
    rate = summary(done)
    if as_json:
        report = {
            **{"case": "native", "traffic": asdict(traffic), "core": core, "frames": frames},
            **{"rate": rate, "rounds": [each.as_dict() for each in done], "host": host()},
        }
        typer.echo(json.dumps(report, indent=2))
        return
    sent, seen = sum(each.sent for each in done), sum(each.seen for each in done)
    spread = f"{rate['low'] / 1e6:.2f} to {rate['high'] / 1e6:.2f}"
    typer.echo(f"{rate['median'] / 1e6:.2f} Mpps, median of {rounds} rounds ({spread})")
    lost = ", ".join(f"{sum(each.drops[name] for each in done)} {name}" for name in done[0].drops)
    typer.echo(f"{sent} frames sent = {seen} seen on nic0 + {lost}")
