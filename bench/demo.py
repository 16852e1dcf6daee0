"""The first experiment: what one container flow gets from stock Linux, at its best, and what it gets sprayed.

It is described as all others are, in ``experiments/single_flow.toml``. What ``stock-best`` stands for there,
a sweep finds first, where this folder has none of this host.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path

from bench import stock_best
from bench.axes import Value, bed_of, traffic_of
from bench.best_file import Saving, key, place, resolved
from bench.experiment import Experiment
from bench.progress import noted
from bench.rounds import Timing
from bench.traffic import Traffic
from bench.variant import STOCK_BEST, Variant
from steering.errors import BadInput

FILE = Path(__file__).parent / "experiments/single_flow.toml"
AMONG = ("none", "rps", "rps-vxlan", "rps-veth")
"""Steering of the demo's own sweep: half a minute, where the whole takes five."""
_GRO = ("", "+gro", "+gro-list")
_SWEEP = Timing(rounds=6, seconds=0.25)

Say = Callable[[str], None]


def described(quick: bool = False) -> Experiment:
    """The experiment; ``quick``: small packets that nobody reads, and fewer and shorter rounds."""
    whole = Experiment.of_file(FILE)
    if not quick:
        return whole
    sent: dict[str, list[Value]] = {**whole.traffic, "payload": [18], "sink": ["count"]}
    return replace(whole, rounds=6, seconds=0.25, traffic=sent, plot=("rates",))


def unswept(experiment: Experiment) -> list[tuple[str, Traffic, str]]:
    """Cases, traffic and sinks of which ``stock-best`` is asked, and no sweep of this host is saved."""
    cases = {variant.case for variant in map(Variant.parse, experiment.variants) if variant.is_stand_in}
    found: dict[str, tuple[str, Traffic, str]] = {}
    for case in sorted(cases):
        for point in experiment.points:
            traffic = traffic_of(point)
            sent = Traffic(traffic.payload, traffic.flows, traffic.batch)
            bed = bed_of(point)
            if not _is_known(case, sent, bed["nic_core"], bed["sink"]):
                found.setdefault(f"{case} {sent} {bed['sink']}", (case, sent, bed["sink"]))
    return list(found.values())


def sweep(case: str, sent: Traffic, sink: str, say: Say) -> None:
    """Find the best of a few stock variants, and save it for all later comparisons; raises as `Bed`."""
    tried = [Variant.parse(f"{case}/{steering}{gro}") for steering, gro in product(AMONG, _GRO)]
    with Saving(place(case, key(sent, sink=sink))) as saving, noted() as note:
        lab = {"sink": sink}
        stock_best.sweep(stock_best.possible(tried, say), sent, _SWEEP, None, lab, saving, note, say)


def _is_known(case: str, sent: Traffic, core: int | None, sink: str) -> bool:
    asked = [Variant.parse(f"{case}/{STOCK_BEST}")]
    try:
        [found] = resolved(asked, key(sent, sink=sink), core, lambda _: None)
    except BadInput:
        return False
    return found.origin is not None and not found.origin.warnings
