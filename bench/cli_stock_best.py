"""``overspray stock-best``: the sweep behind the variant of that name."""

from typing import Annotated

import typer

from bench import options


def register(app: typer.Typer) -> None:
    """Add the command ``stock-best``."""
    app.command("stock-best")(stock_best)


def stock_best(
    case: Annotated[str, typer.Option(help="native, linux, docker or flannel.")] = "docker",
    traffic: options.Traffic = "udp",
    payload: options.Payload = 18,
    flows: options.Flows = 1,
    sink: options.SinkText = "",
    arrivals: options.Arrivals = "constant",
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
    """Find the best that stock Linux can do for a traffic; later comparisons can name it."""
    import json

    from bench.bed import Bed, BedSpec
    from bench.stock_best import save, sweep
    from bench.variant import Variant
    from steering.doctor import require

    variant = Variant.parse(f"{case}/stock-best")
    point = options.point((variant,), traffic, payload, flows, "best", arrivals, sink)
    placement = options.Cores(nic_core, workers, app).placement()
    require()
    with (
        Bed(placement, BedSpec(lab, containers, mtu, outer, inner)) as bed,
        options.told("stock-best", None) as (note, _),
    ):
        ranking = sweep(bed, case, point, note)
    path = save(case, point, ranking)
    if as_json:
        found = {"case": case, "point": point.id, "ranking": [vars(each) for each in ranking]}
        typer.echo(json.dumps(found, indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("variant", "Mpps", "stages", box=None, header_style="bold")
    for each in ranking:
        table.add_row(each.variant, f"{each.rate_pps / 1e6:.3f}", str(each.stage + 1))
    Console(highlight=False).print(table)
    typer.echo(f"saved as {path}", err=True)
