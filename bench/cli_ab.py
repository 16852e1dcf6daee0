"""``overspray ab A B``: two variants against each other, in interleaved rounds."""

from typing import Annotated

import typer

from bench.lab_plan import Plan
from bench.options import AsJson, Batch, Core, Flows, Ip, Mtu, OuterIp, Payload, Seed
from bench.traffic import ARRIVALS, MOST_LOSS, SEARCHES, Traffic
from steering.errors import BadInput

FEWEST_ROUNDS = 1
LONGEST_S = 60.0
_EXPLAIN_S = 0.2
LOWEST_RATE = 100
"""Packets a second: a run waits for a thousand of them."""
STARTING_RATE = 1_000_000
"""Of traffic whose rate is searched for: it has one in every trial."""


def register(app: typer.Typer) -> None:
    """Add ``ab``."""
    app.command("ab")(ab)


def ab(
    a: Annotated[str, typer.Argument(help="The baseline, such as flannel/none+gro-list.")],
    b: Annotated[str, typer.Argument(help="What is compared with it: flannel/backlog:cell=64,limit=192.")],
    payload: Payload = Traffic.payload,
    flows: Flows = Traffic.flows,
    shares: Annotated[str, typer.Option(help="Each flow's share, such as 90,5,5, in place of --flows.")] = "",
    rate: Annotated[
        str,
        typer.Option(
            help="Packets a second; full: as fast as they go; search: each variant's highest with at most "
            "--loss; best: that at which it delivers most."
        ),
    ] = "full",
    loss: Annotated[
        float, typer.Option(min=0, max=MOST_LOSS, help="Share that --rate search allows to be lost.")
    ] = 0.001,
    arrivals: Annotated[str, typer.Option(help=f"How they come at that rate: {ARRIVALS}.")] = "constant",
    moderation: Annotated[
        int, typer.Option(help="µs that the NIC waits for a batch to fill; 0: a batch arrives as one.")
    ] = 0,
    batch: Batch = Traffic.batch,
    containers: Annotated[int, typer.Option(help="Flow i is for container i modulo this; 1 to 80.")] = 1,
    mtu: Mtu = Plan.inner_mtu,
    ip: Ip = 4,
    outer_ip: OuterIp = 4,
    sink: Annotated[
        str, typer.Option(help="count: the path's ceiling; read[:core=N,batch=N]: an application reads.")
    ] = "count",
    core: Core = None,
    seconds: Annotated[float, typer.Option(help="Seconds of each run, after its warm-up.")] = 0.5,
    rounds: Annotated[int, typer.Option(help="Rounds; fewer than 6 support no verdict.")] = 7,
    seed: Seed = 1,
    explain: Annotated[
        bool,
        typer.Option(help="A short run of each at the end, for losses by reason; not at searched loads."),
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Compare B with A: the median of the per-round ratios of delivered packets a second, with its interval.

    A variant is [CASE/]STEERING[:KNOB=VALUE,…][+COALESCING…]; the case is docker when left out.
    Cases: native, linux, flannel, docker. Stock steering: none; rss[:mask=HEX,ports=0]; rps, rps-vxlan,
    rps-veth[:mask=HEX] at the NIC, the tunnel, the containers' ends, with vxlan=HEX, veth=HEX for those
    behind; rfs, rfs-vxlan, rfs-veth, to the reader's core; each with netfilter=1 if wanted; stock-best, which
    'overspray stock-best' has found. Policies, in flannel and docker: local, pin, roundrobin, flowcell,
    backlog, or @FOLDER of one's own. Coalescing: one of gro, gro-list, udp-forward;
    defer[:usecs=N,irqs=N]; threaded[:mask=HEX].
    """
    if rounds < FEWEST_ROUNDS or not 0 < seconds <= LONGEST_S:
        raise BadInput(f"rounds {rounds}, seconds {seconds:g}: choose 1 or more rounds of up to 60 seconds")
    from bench.best_file import add_origins, key, resolved
    from bench.variant import Variant

    variants = [Variant.parse(a), Variant.parse(b)]
    traffic = Traffic(
        payload,
        shares.count(",") + 1 if shares else flows,
        batch,
        rate=STARTING_RATE if rate in SEARCHES else _rate(rate),
        arrivals=arrivals,
        moderation=moderation,
        shares=shares,
    )
    variants = resolved(variants, key(traffic, ip, outer_ip), core, _to_stderr)

    import json

    from bench.ab import lines, report
    from bench.bed import Bed
    from bench.explain import explained
    from bench.progress import noted
    from bench.rounds import Timing
    from bench.rounds import rounds as measured
    from bench.search import Search

    timing = Timing(rounds, seconds, seed=seed)
    with Bed(variants, traffic, core, containers, mtu, ip, outer_ip, sink) as bed, noted() as note:
        for side, variant in zip("ab", variants, strict=True):
            with bed.in_effect(variant) as effect:
                shown = ", ".join(f"{name} {value}" for name, value in effect.settings.items())
                typer.echo(f"{side} {variant}: {shown}", err=True)
        found = []
        measure = Search(rate, loss, note) if rate in SEARCHES else None
        for each in measured(bed, variants, timing, note, measure):
            found.append(each)
            typer.echo(
                f"round {len(found)}/{rounds}: a {each[0].rate / 1e6:.3f}, b {each[1].rate / 1e6:.3f} Mpps, "
                f"{each[1].rate / each[0].rate:.2f} times",
                err=True,
            )
        told = []
        if explain and measure is None:  # each was at a load of its own
            note("a run of each that tells reasons")
            told = explained(bed, variants, min(seconds, _EXPLAIN_S), _to_stderr)
    result = report([one for one, _ in found], [two for _, two in found], seed, traffic, bed.sink, told, rate)
    add_origins(result, variants)
    if as_json:
        typer.echo(json.dumps(result, indent=2))
        return
    for line in lines(result):
        typer.echo(line)


def _to_stderr(text: str) -> None:
    typer.echo(text, err=True)


def _rate(text: str) -> int | None:
    if text == "full":
        return None
    if not text.isdecimal() or int(text) < LOWEST_RATE:
        words = ", ".join(("full", *SEARCHES))
        raise BadInput(f"rate '{text}': choose {words}, or packets a second, {LOWEST_RATE} or more")
    return int(text)
