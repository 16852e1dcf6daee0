"""``overspray demo``: the first experiment, its table and its picture."""

from pathlib import Path
from typing import Annotated

import typer

from steering.errors import BadInput


def register(app: typer.Typer) -> None:
    """Add ``demo``."""
    app.command("demo")(demo)


def demo(
    out: Annotated[
        Path | None, typer.Option(help="Where results go: a new directory; if left out, below results/.")
    ] = None,
    rounds: Annotated[int, typer.Option(help="Rounds; fewer than 6 support no verdict.", min=1)] = 11,
    seconds: Annotated[float, typer.Option(help="Seconds of each run, after its warm-up.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Decides the order within rounds, and the intervals.")] = 1,
    redraw: Annotated[
        Path | None, typer.Option(help="Measure nothing: make table and picture of a saved run again.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure what one container flow gets from stock Linux, and what it gets sprayed over the cores.

    Ten variants in interleaved rounds, UDP with 18 bytes of payload, in labs of their own; three to four
    minutes. Keeps raw samples, the host's fingerprint, a table and a picture (PNG and SVG).
    """
    import json
    import time

    from bench import demo as first
    from bench.results import load
    from bench.rounds import Timing
    from bench.table import as_json as rows_as_json
    from bench.table import as_text
    from bench.traffic import Traffic
    from steering import doctor

    if not 0 < seconds <= 60:
        raise BadInput(f"seconds {seconds:g} is out of range: choose from above 0 to 60")
    if redraw is not None:
        directory, kept = redraw, load(redraw)
        try:
            first.draw(kept, redraw)
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(
                f"'{redraw}' holds no run of this experiment ({error}): name one that does"
            ) from None
    else:
        doctor.require("capabilities", "BPF")
        directory = out or Path("results") / time.strftime("demo-%Y%m%d-%H%M%S")
        timing = Timing(rounds, seconds, seed=seed)
        needed = timing.needs(len(first.VARIANTS))
        typer.echo(f"{len(first.VARIANTS)} variants, {rounds} rounds: about {needed:.0f} s", err=True)
        for number, variant in enumerate(first.VARIANTS, 1):
            typer.echo(f"  {number:2}  {variant}", err=True)
        kept = first.conduct(directory, timing, Traffic(), lambda text: typer.echo(text, err=True))
    table = first.rows(kept)
    if as_json:
        report = {"directory": str(directory), "comparisons": first.comparisons(kept)}
        typer.echo(json.dumps({**report, "rows": json.loads(rows_as_json(table))}, indent=2))
        return
    for sentence in first.findings(kept):
        typer.echo(sentence)
    typer.echo("")
    typer.echo(as_text(table))
    typer.echo(f"samples, fingerprints, table.md, rates.png and rates.svg are in {directory}")
