"""``overspray twin sweep``: many runs of the model, on all cores or on a cluster."""

import json
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from prototype.cli import twin


def register(app: typer.Typer) -> None:
    """Add ``sweep`` to ``twin``."""
    twin(app).command()(sweep)


def sweep(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Of axes, TOML: see docs/twin.md.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Go on with this one, from where it stopped.")
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="A Dask scheduler, such as tcp://host:8786."),
    ] = None,
    costs: Annotated[
        Path | None, typer.Option(help="What 'twin calibrate' wrote; none: the reference's costs.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the sweep's folder is made.")] = Path("results"),
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Run every combination of a file's axes, and draw throughput, order and latency."""
    from prototype import sweep as sweeping
    from prototype.costs import Costs, reference
    from prototype.progress import counted
    from prototype.sweep_plots import draw
    from steering.errors import BadInput

    if (file is None) == (resume is None):
        raise BadInput("name a sweep's file, or --resume with a folder: one of them")
    if resume is not None:
        folder = sweeping.Folder.open(resume)
    elif file is not None:
        stages = Costs.read(costs) if costs else reference()
        folder = sweeping.Folder.create(out, file, stages)
    with _workers(cluster) as workers:
        typer.echo(f"{len(folder.missing())} runs, into {folder.path}", err=True)
        with counted(folder.sweep.name, len(folder.sweep.points())) as note:
            folder.run(workers, note)
    samples = folder.samples()
    paths = draw(samples, folder.sweep.title, folder.path / "plots")
    if as_json:
        found = {"source": "twin", "costs": folder.costs.source, "folder": str(folder.path)}
        typer.echo(json.dumps(found | {"runs": samples}))
        return
    typer.echo(f"simulated, not measured; costs: {folder.costs.source}")
    for row in samples:
        typer.echo(
            f"{row['key']}: {row['rate_pps'] / 1e6:.3f} Mpps, lost {row['loss']:.1%}, overtaken"
            f" {row['order'].get('reordered', 0):.1%}, p99 {row['latency']['p99'] / 1e3:.0f} us"
        )
    for path in paths:
        typer.echo(str(path))


@contextmanager
def _workers(cluster: str | None) -> Iterator[Executor]:
    """Who runs: processes on every core of this machine, or a cluster's workers."""
    if cluster is None:
        import multiprocessing
        import os
        from concurrent.futures import ProcessPoolExecutor

        # Not forked: numba's threads and locks would not survive that.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(len(os.sched_getaffinity(0)), context) as pool:
            yield pool
        return
    from steering.errors import BadInput, OversprayError

    try:
        from distributed import Client
    except ImportError:
        raise BadInput("--cluster needs Dask: type 'pip install distributed'") from None
    try:
        client = Client(cluster, timeout=10)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise OversprayError(f"cluster '{cluster}': {error}") from None
    with client, client.get_executor() as pool:  # type: ignore[no-untyped-call]
        yield pool
