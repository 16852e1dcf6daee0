"""``overspray twin run``, ``calibrate``, ``validate``, ``paper``: the model of the receive path."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prototype.cli import twin

if TYPE_CHECKING:
    from prototype.costs import Costs

_Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
_CostFile = Annotated[
    Path | None,
    typer.Option("--costs", help="What 'twin calibrate' wrote; none: the reference's costs."),
]
_Results = Annotated[Path, typer.Option(help="Folder of saved lab results.")]


def register(app: typer.Typer) -> None:
    """Add the model's commands to ``twin``."""
    group = twin(app)
    for command in (run, calibrate, validate, paper):
        group.command()(command)


def run(
    variants: Annotated[
        list[str],
        typer.Argument(metavar="POLICY…", help="[CASE/]STEERING[:knob=value,…][+gro-list]"),
    ],
    cores: Annotated[str, typer.Option(help="A number, or a range like 1..64 (doubling).")] = "2",
    payload: Annotated[int, typer.Option(help="Bytes.")] = 18,
    flows: Annotated[int, typer.Option(help="Flows (1 to 1024).")] = 1,
    rate: Annotated[
        float | None, typer.Option(help="Packets a second over all flows; none: all that goes.")
    ] = None,
    link: Annotated[str, typer.Option(help="The NIC's, bit/s: 10G to 400G.")] = "100G",
    queues: Annotated[int, typer.Option(help="Of the NIC, each with a core of its own.")] = 1,
    protocol: Annotated[str, typer.Option(help="udp or tcp.")] = "udp",
    lab: Annotated[bool, typer.Option(help="The lab's wire instead of a NIC.")] = False,
    reads: Annotated[bool, typer.Option(help="An application reads what comes.")] = False,
    seconds: Annotated[float, typer.Option(help="Simulated, behind a tenth of warm-up.")] = 0.1,
    seed: Annotated[int, typer.Option(help="The same seed gives the same result.")] = 1,
    costs: _CostFile = None,
    as_json: _Json = False,
) -> None:
    """Simulate variants on a machine with any number of cores. Nothing is measured."""
    from prototype.model import simulate
    from prototype.model_load import Load, Machine
    from prototype.model_path import Setup
    from prototype.progress import counted
    from steering.errors import BadInput

    if protocol not in ("udp", "tcp"):
        raise BadInput(f"protocol '{protocol}': choose udp or tcp")
    stages = _costs(costs)
    load = Load(
        payload=payload,
        flows=flows,
        rate=rate,
        protocol="tcp" if protocol == "tcp" else "udp",
        reads=reads,
        window=512 if protocol == "tcp" else 0,
        seconds=seconds,
        warmup=seconds / 10,
        seed=seed,
    )
    setups = [Setup.parse(text) for text in variants]
    machines = [
        Machine(cores=count, queues=queues, link=_bits(link), lab=lab) for count in _counts(cores)
    ]
    found: list[dict[str, Any]] = []
    with counted("twin", len(setups) * len(machines)) as note:
        for setup in setups:
            for machine in machines:
                outcome = simulate(setup, machine, load, stages)
                found.append({"cores_given": machine.cores, **outcome.as_dict()})
                note(len(found))
    if as_json:
        _print_json({"source": "twin", "costs": stages.source, "runs": found})
        return
    typer.echo(f"simulated, not measured; costs: {stages.source}")
    head = ("variant", "cores", "Mpps", "Gbit/s", "lost", "overtaken", "p50 us", "p99 us", "busy")
    rows = [
        (
            each["variant"],
            str(each["cores_given"]),
            f"{each['rate_pps'] / 1e6:.3f}",
            f"{each['goodput_bps'] / 1e9:.2f}",
            f"{each['loss']:.1%}",
            f"{each['order'].get('reordered', 0):.1%}",
            f"{each['latency']['p50'] / 1e3:.1f}",
            f"{each['latency']['p99'] / 1e3:.1f}",
            f"{each['busy_cores']:.2f}",
        )
        for each in found
    ]
    _print_table(head, rows)


def calibrate(
    results: _Results = Path("docs/results/twin/lab"),
    cost: Annotated[Path, typer.Option(help="JSON of 'overspray cost'.")] = Path(
        "docs/results/cost.json"
    ),
    out: Annotated[Path, typer.Option(help="Is written.")] = Path("twin-costs.json"),
    as_json: _Json = False,
) -> None:
    """Fit stage costs to saved lab runs of variants that isolate a stage."""
    from prototype.calibrate import fit, prepare
    from prototype.progress import counted

    start = prepare(results, cost)
    with counted("model runs") as note:
        found = fit(start, note)
    found.write(out)
    if as_json:
        _print_json(found.model_dump(mode="json"))
        return
    typer.echo(f"{out}: {found.source}")
    stages = [(name, f"{each.mean:.0f} ns") for name, each in found.each()]
    shared = [(name, f"{value:g}") for name, value in found.shared.model_dump().items()]
    _print_table(("stage", "cost"), stages + shared)


def validate(
    results: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders of saved lab results; none: docs/results/twin/lab."),
    ] = None,
    costs: Annotated[Path, typer.Option(help="What 'twin calibrate' wrote.")] = Path(
        "twin-costs.json"
    ),
    plot: Annotated[Path | None, typer.Option(help="Picture to write, PNG or SVG.")] = None,
    elsewhere: Annotated[
        bool, typer.Option(help="Accept costs of another host than this one.")
    ] = False,
    as_json: _Json = False,
) -> None:
    """Predict saved lab runs that calibration did not use, and compare."""
    from prototype import validate as validation
    from prototype.costs import Costs
    from prototype.host import this_host
    from prototype.progress import counted
    from prototype.records import read_results

    folders = results or [Path("docs/results/twin/lab")]
    stages = Costs.read(costs, None if elsewhere else this_host())
    lab = [row for folder in folders for row in read_results(folder)]
    with counted("rows", len(lab)) as note:
        rows, left_out = validation.compare(lab, stages, note)
    kinds = {"throughput": validation.errors(rows)}
    if any(each.anchored is not None for each in rows):
        kinds["throughput, anchored"] = validation.errors(rows, with_anchor=True)
    holds = kinds["throughput"].holds
    same, pairs = validation.order(rows)
    if plot:
        validation.picture(rows, plot)
    if as_json:
        summary = {name: vars(errors) for name, errors in kinds.items()}
        more = {"holds": holds, "pairs": pairs, "pairs_in_order": same}
        table = [each.as_dict() for each in rows]
        _print_json({**summary, **more, "left_out": left_out, "rows": table})
        return
    typer.echo(validation.markdown(rows))
    typer.echo("")
    for name, errors in kinds.items():
        typer.echo(
            f"{name}: {errors.rows} rows, median error {errors.median:.1%}, worst"
            f" {errors.worst:.1%} ({errors.worst_row})"
        )
    typer.echo(f"order: {same} of {pairs} pairs as measured")
    for key, why in left_out.items():
        typer.echo(f"not predicted: {key}: {why}")
    typer.echo(f"targets: {'met' if holds else 'missed'}")


def paper(
    seconds: Annotated[float, typer.Option(help="Simulated, for each point.")] = 0.02,
    as_json: _Json = False,
) -> None:
    """Predict the paper's many flows from costs fitted to its single-flow figures alone."""
    from prototype.paper import as_rows, fitted, predict
    from prototype.progress import counted

    costs = fitted()
    with counted("points") as note:
        rows = as_rows(predict(costs, seconds, note))
    if as_json:
        _print_json({"source": "twin", "costs": costs.model_dump(mode="json"), "points": rows})
        return
    typer.echo("simulated, not measured; 20 cores, 40 Gbit/s, costs fitted to one flow")
    _print_table(
        ("case", "protocol", "pairs", "Gbit/s", "CPU cores", "memory bandwidth, relative"),
        [
            (
                row["case"],
                row["protocol"],
                str(row["pairs"]),
                f"{row['throughput_gbps']:.1f}",
                f"{row['cpu_cores']:.2f}",
                f"{row['memory_bandwidth_relative']:.2f}",
            )
            for row in rows
        ],
    )


def _costs(path: Path | None) -> "Costs":
    from prototype.costs import Costs, reference

    return Costs.read(path) if path else reference()


def _counts(text: str) -> list[int]:
    """``N``, or ``LOW..HIGH``: doubling from the one to the other."""
    from prototype.model_load import MOST_CORES
    from steering.errors import BadInput

    low, _, high = text.partition("..")
    try:
        first, last = int(low), int(high or low)
    except ValueError:
        raise BadInput(f"cores '{text}': write a number, or LOW..HIGH") from None
    if not 1 <= first <= last <= MOST_CORES:
        raise BadInput(f"cores '{text}': 1 to {MOST_CORES}, the lower one first")
    counts = [first]
    while counts[-1] < last:
        counts.append(min(last, 2 * counts[-1]))
    return counts


def _bits(text: str) -> float:
    """``100G`` as bit/s."""
    from steering.errors import BadInput

    try:
        value = float(text.removesuffix("G")) * 1e9
    except ValueError:
        value = 0.0
    if not 1e9 <= value <= 1e12:
        raise BadInput(f"link '{text}': write 1G to 1000G")
    return value


def _print_json(value: dict[str, Any]) -> None:
    import json

    typer.echo(json.dumps(value, default=str))


def _print_table(head: tuple[str, ...], rows: "list[Any]") -> None:
    widths = [max(len(str(row[i])) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        cells = [str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)]
        typer.echo("  ".join(cells).rstrip())
