"""The first experiment: what one container flow gets from stock Linux, and what it gets sprayed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import plots, table
from bench.bed import Bed
from bench.findings import Found, found, sentences
from bench.progress import noted
from bench.results import Loaded, Results, load
from bench.rounds import Timing, rounds
from bench.traffic import Traffic
from bench.variant import Variant

BASELINE = "flannel/none"
OURS = "backlog+gro-list"
VARIANTS = (
    "native/none",
    BASELINE,
    "flannel/rps-vxlan",
    "flannel/none+gro-list",
    "flannel/local",
    "flannel/roundrobin",
    "flannel/backlog",
    f"flannel/{OURS}",
    "docker/none+gro-list",
    f"docker/{OURS}",
)
PAIRS = (
    (f"flannel/{OURS}", BASELINE),
    (f"flannel/{OURS}", "flannel/none+gro-list"),
    (f"flannel/{OURS}", "native/none"),
    (f"docker/{OURS}", "docker/none+gro-list"),
)
"""What the first sentences compare: ours, and with what."""

Say = Callable[[str], None]


def conduct(directory: Path, timing: Timing, traffic: Traffic, say: Say) -> Loaded:
    """Measure all variants, keep every sample, and draw; returns what was kept. Raises as `Bed`."""
    variants = [Variant.parse(text) for text in VARIANTS]
    about = {"variants": VARIANTS, "baseline": BASELINE, "rounds": timing.rounds, "seconds": timing.seconds}
    with (
        Bed(variants, traffic) as bed,
        noted() as note,
    ):  # first: what can't be made leaves no directory that is in the way
        results = Results(directory)
        results.describe({**about, "seed": timing.seed, "traffic": traffic.as_dict()})
        results.fingerprint("before")
        for number, samples in enumerate(rounds(bed, variants, timing, note), 1):
            for sample in samples:
                results.add(sample.as_dict())
            shown = ", ".join(f"{sample.rate / 1e6:.2f}" for sample in samples)
            say(f"round {number}/{timing.rounds}: {shown} Mpps")
    results.fingerprint("after")
    kept = load(directory)
    draw(kept, directory)
    return kept


def draw(kept: Loaded, directory: Path) -> None:
    """Write the table and the picture of a saved run: ``table.md``, ``rates.png``, ``rates.svg``."""
    table_rows = rows(kept)
    traffic = kept.description["traffic"]
    sent = plots.Sent(traffic["payload"], traffic["flows"])
    plots.draw(table_rows, kept.description["baseline"], sent, directory / "rates")
    text = [*(f"{line}\n" for line in findings(kept)), table.as_markdown(table_rows)]
    (directory / "table.md").write_text("\n".join(text))


def rows(kept: Loaded) -> list[table.Row]:
    """A row for each variant of a saved run."""
    return table.rows(kept.samples, kept.description["baseline"])


def findings(kept: Loaded) -> list[str]:
    """What was found, in a sentence for each pair."""
    return sentences(_found(kept))


def comparisons(kept: Loaded) -> list[dict[str, Any]]:
    """Each pair's ratio, verdict, and what weakens it, from a saved run."""
    return [each.as_dict() for each in _found(kept)]


def _found(kept: Loaded) -> list[Found]:
    each = (found(kept.samples, pair, kept.description["seed"]) for pair in PAIRS)
    return [one for one in each if one]
