"""``overspray ab``: two variants, compared in interleaved rounds."""

import random
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench import options

if TYPE_CHECKING:
    from bench.experiment import Point
    from bench.runner import Runner
    from bench.sample import Sample


def register(app: typer.Typer) -> None:
    """Add the command ``ab``."""
    app.command("ab")(ab)


def ab(
    a: Annotated[str, typer.Argument(help="The baseline: [CASE/]STEERING[:K=V,…][+COALESCING]…")],
    b: Annotated[str, typer.Argument(help="What is compared with it; the figure is B/A.")],
    traffic: options.Traffic = "udp",
    payload: options.Payload = 18,
    flows: options.Flows = 1,
    sink: options.SinkText = "",
    rate: options.Rate = "best",
    arrivals: options.Arrivals = "constant",
    neighbour: options.Neighbour = "none",
    loss: Annotated[
        float, typer.Option(min=0.0, max=0.99, help="With --rate search: the loss allowed.")
    ] = 0.001,
    seconds: Annotated[float, typer.Option(min=0.05, help="Of each run.")] = 1.0,
    warmup: Annotated[float, typer.Option(min=0.0, help="Seconds before each run.")] = 0.2,
    rounds: Annotated[int, typer.Option(min=1, help="Of one run of each; 6 at least.")] = 10,
    seed: Annotated[int, typer.Option(help="Of the order of runs and of arrivals.")] = 1,
    metric: Annotated[str, typer.Option(help="rate, or another figure of the report.")] = "rate",
    containers: options.Containers = 1,
    mtu: options.Mtu = 1500,
    outer: options.Outer = 4,
    inner: options.Inner = 4,
    nic_core: options.NicCore = 0,
    workers: options.Workers = "",
    app: options.App = None,
    lab: options.LabName = "osp",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Compare two variants: interleaved rounds, median of the ratios B/A with its interval."""
    from bench.analysis import METRICS
    from bench.bed import Bed, BedSpec, check
    from bench.experiment import Limits
    from bench.runner import LabRunner, Timing
    from bench.summary import compared
    from bench.variant import Variant
    from steering.doctor import require
    from steering.errors import unknown

    if metric not in METRICS:
        raise unknown("metric", metric, METRICS)
    variants = (Variant.parse(a), Variant.parse(b))
    placement = options.Cores(nic_core, workers, app).placement()
    for variant in variants:
        check(variant, placement)
    point = options.point(variants, traffic, payload, flows, rate, arrivals, sink, neighbour)
    limits = Limits(loss=loss)
    spec = BedSpec(lab, containers, mtu, outer, inner)
    for variant in variants:
        spec.lab(variant.case)
    require()
    with (
        Bed(placement, spec) as bed,
        options.told("ab", 2 * rounds) as (note, step),
    ):
        runner = LabRunner(bed, Timing(seconds, warmup), limits, note)
        runner.prepare(point)
        pairs = _interleaved(runner, point, rounds, seed, step)
    found = compared(*pairs, metric=metric, limits=limits)
    _print(found, as_json)


def _interleaved(
    runner: "Runner", point: "Point", rounds: int, seed: int, step: Any
) -> "tuple[list[Sample], list[Sample]]":
    """The runs of both variants; the order within a round is drawn."""
    from bench.run import Place

    draw = random.Random(seed)
    runs: tuple[list[Sample], list[Sample]] = ([], [])
    for number in range(rounds):
        order = draw.sample((0, 1), 2)
        arrivals = draw.getrandbits(31)
        for position, which in enumerate(order):
            place = Place(point.id, number, position)
            runs[which].append(runner.sample(point, point.variants[which], place, arrivals))
            step()
    return runs


def _print(found: dict[str, Any], as_json: bool) -> None:
    import json

    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    from bench.ab_table import print_comparison

    print_comparison(found)
