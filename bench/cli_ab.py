"""``overspray ab A B``: two variants against each other, in interleaved rounds."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.lab_plan import Plan
from bench.options import AsJson, Batch, Core, Flows, Ip, Mtu, OuterIp, Payload, Seed, SinkText, rate_of
from bench.traffic import ARRIVALS, MOST_LOSS, SEARCHES, Traffic
from steering.errors import BadInput

if TYPE_CHECKING:  # heavy
    from bench.bed import Bed
    from bench.progress import Note
    from bench.rounds import Measure, S, Timing, V
    from bench.variant import Variant

FEWEST_ROUNDS = 1
LONGEST_S = 60.0
_EXPLAIN_S = 0.2
_LIVE = ("a", "b", "on", "vni", "bypass", "seconds", "rounds", "seed", "as_json")
"""Parameters of a comparison on a live overlay."""
STARTING_RATE = 1_000_000
"""Of traffic whose rate is searched for: it has one in every trial."""


def register(app: typer.Typer) -> None:
    """Add ``ab``."""
    app.command("ab")(ab)


def ab(
    context: typer.Context,
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
    sink: SinkText = "count",
    core: Core = None,
    seconds: Annotated[float, typer.Option(help="Seconds of each run, after its warm-up.")] = 0.5,
    rounds: Annotated[int, typer.Option(help="Rounds; fewer than 6 support no verdict.")] = 7,
    seed: Seed = 1,
    explain: Annotated[
        bool,
        typer.Option(help="A short run of each at the end, for losses by reason; not at searched loads."),
    ] = True,
    on: Annotated[
        str, typer.Option(metavar="DEVICE", help="Compare on the live overlays behind this NIC: see below.")
    ] = "",
    vni: Annotated[int | None, typer.Option(help="With --on: that overlay alone.")] = None,
    bypass: Annotated[
        bool, typer.Option("--bypass", help="With --on: go past rules, as attach does.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare B with A: the median of the per-round ratios of delivered packets a second, with its interval.

    A variant is [CASE/]STEERING[:KNOB=VALUE,…][+COALESCING…]; the case is docker when left out.
    Cases: native, linux, flannel, docker. Stock steering: none; rss[:mask=HEX,ports=0]; rps, rps-vxlan,
    rps-veth[:mask=HEX] at the NIC, the tunnel, the containers' ends, with vxlan=HEX, veth=HEX for those
    behind; rfs, rfs-vxlan, rfs-veth, to the reader's core; each with netfilter=1 if wanted; stock-best, which
    'overspray stock-best' has found. Policies, in flannel and docker: local, pin, roundrobin, flowcell,
    backlog, or @FOLDER of one's own, each with stack=HEX for RPS behind GRO. Coalescing: one of gro,
    gro-list, udp-forward; defer[:usecs=N,irqs=N]; threaded[:mask=HEX].

    With --on nothing is sent and no lab is made: a variant is none, with nothing attached, or a policy, and
    what counts is what the containers behind that NIC receive of the traffic that is there.
    """
    if rounds < FEWEST_ROUNDS or not 0 < seconds <= LONGEST_S:
        raise BadInput(f"rounds {rounds}, seconds {seconds:g}: choose 1 or more rounds of up to 60 seconds")
    _check_kind(context, bool(on))
    if on:
        _live(on, [a, b], rounds, seconds, seed, vni, bypass, as_json)
        return
    from bench.best_file import add_origins, key, resolved
    from bench.variant import Variant

    variants = [Variant.parse(a), Variant.parse(b)]
    traffic = Traffic(
        payload,
        shares.count(",") + 1 if shares else flows,
        batch,
        rate=STARTING_RATE if rate in SEARCHES else rate_of(rate, *SEARCHES),
        arrivals=arrivals,
        moderation=moderation,
        shares=shares,
    )
    variants = resolved(variants, key(traffic, ip, outer_ip, sink), core, _to_stderr)

    import json

    from bench.ab import lines
    from bench.bed import Bed
    from bench.rounds import Timing

    timing = Timing(rounds, seconds, seed=seed)
    lab = {"containers": containers, "mtu": mtu, "ip": ip, "outer_ip": outer_ip}
    with Bed(variants, traffic, core, sink=sink, **lab) as bed:
        _show_settings(bed, variants)
        result = _measured(bed, variants, timing, rate, loss, explain)
    result["lab"] = lab
    add_origins(result, variants)
    if as_json:
        typer.echo(json.dumps(result, indent=2))
        return
    for line in lines(result):
        typer.echo(line)


def _show_settings(bed: "Bed", variants: Sequence["Variant"]) -> None:
    """What is in effect with each, before anything is measured."""
    for side, variant in zip("ab", variants, strict=True):
        with bed.in_effect(variant) as effect:
            shown = ", ".join(f"{name} {value}" for name, value in effect.settings.items())
            _to_stderr(f"{side} {variant}: {shown}")


def _measured(
    bed: "Bed", variants: Sequence["Variant"], timing: "Timing", rate: str, loss: float, explain: bool
) -> dict[str, Any]:
    """The rounds, each told as it ends, and what `bench.ab.report` makes of them."""
    from bench.ab import report
    from bench.explain import explained
    from bench.progress import noted
    from bench.run import run
    from bench.search import Search

    told = []
    searched = rate in SEARCHES
    with noted() as note:
        measure = partial(Search(rate, loss, note) if searched else run, bed)
        a, b = _rounds(measure, variants, timing, note)
        if explain and not searched:  # each was at a load of its own
            note("a run of each that tells reasons")
            told = explained(bed, variants, min(timing.seconds, _EXPLAIN_S), _to_stderr)
    return report(a, b, timing.seed, bed.traffic, bed.sink, told, rate)


def _rounds(
    measure: "Measure[V, S]", variants: "Sequence[V]", timing: "Timing", note: "Note"
) -> "tuple[list[S], list[S]]":
    """The samples of either variant; each round is told as it ends."""
    from bench.rounds import rounds

    a, b = [], []
    for one, two in rounds(measure, variants, timing, note):
        a.append(one)
        b.append(two)
        times = f"{two.rate / one.rate:.2f} times" if one.rate else "no ratio"
        _to_stderr(
            f"round {len(a)}/{timing.rounds}: a {one.rate / 1e6:.3f}, b {two.rate / 1e6:.3f} Mpps, {times}"
        )
    return a, b


def _check_kind(context: typer.Context, live: bool) -> None:
    """BadInput where an option was typed that belongs to the other kind of comparison."""
    for name in context.params:
        source = context.get_parameter_source(name)
        if source is None or source.name != "COMMANDLINE":
            continue
        option = name.replace("_", "-")
        if live and name not in _LIVE:
            raise BadInput(f"--on takes the traffic that is there: leave --{option} out")
        if not live and name in ("vni", "bypass"):
            raise BadInput(f"--{option} is for a live overlay: name its NIC by --on")


def _live(
    device: str,
    texts: Sequence[str],
    count: int,
    seconds: float,
    seed: int,
    vni: int | None,
    bypass: bool,
    as_json: bool,
) -> None:
    """Compare on a live overlay, and print what came of it."""
    import json

    from bench.live import Live, variant_of
    from bench.live_report import lines, report
    from bench.progress import noted
    from bench.rounds import Timing

    variants = [variant_of(text) for text in texts]
    with Live(device, variants, vni, bypass) as live, noted() as note:
        effective = []
        for variant in variants:  # all of them first: one may be refused
            live.put(variant)
            effective.append(live.settings())
        for side, variant, found in zip("ab", variants, effective, strict=True):
            shown = ", ".join(f"{name} {value}" for name, value in found.items())
            _to_stderr(f"{side} {variant}: {shown}")
        a, b = _rounds(live.run, variants, Timing(count, seconds, seed=seed), note)
    result = report(a, b, device, seed)
    if as_json:
        typer.echo(json.dumps(result, indent=2))
        return
    for line in lines(result):
        typer.echo(line)


def _to_stderr(text: str) -> None:
    typer.echo(text, err=True)
