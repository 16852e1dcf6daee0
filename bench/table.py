"""From samples to a table: one row a variant, as text, Markdown or JSON."""

import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from bench.results import Sample
from bench.statistics import Interval, interval
from steering.errors import unknown

Family = Literal["native", "stock", "ours"]
TIMES, DASH = "\N{MULTIPLICATION SIGN}", "\N{EN DASH}"
MOST_COLUMNS = 120
_STOCK = ("none", "rss", "rps", "rfs", "stock")
"""First words of the names of stock steering."""
_VARIANT = re.compile(r"(?:([^/@:+]*)/)?([a-z]*).*", re.S)


@dataclass(frozen=True)
class Row:
    """What the rounds of one variant say: medians, but for ``cores``. None: nothing was measured."""

    variant: str
    family: Family
    rates: tuple[float, ...]
    """Delivered, million packets a second, each round's."""
    rate: Interval
    ratio: Interval | None
    """Of the rounds' ratios to the baseline; None where they share no round."""
    lost: float
    """Share of the offered packets, 0 to 1; so is ``reordered``, of the delivered."""
    reordered: float | None
    extent_p99: float | None
    """Packets by which the late ones are late (RFC 4737), 99th percentile."""
    p50: float | None
    """µs from the intended send time; so is ``p99``."""
    p99: float | None
    cpu_ns: float | None
    """Time of all cores for a delivered packet, without the wire's part; so is ``softirqs``, entries."""
    softirqs: float | None
    cores: dict[int, dict[str, float]]
    """Share of each core's time by kind, 0 to 1, mean of the rounds, for means add up to 1."""
    wire: float
    """Share of its core's time that the wire itself took."""
    limited: int
    """Rounds in which the wire was the limit."""
    invalid: tuple[str, ...]
    """Why this is no result, each reason once."""

    def busy(self) -> dict[int, float]:
        """Share of its time that each core was not idle, the wire included."""
        return {core: 1 - shares.get("idle", 0.0) for core, shares in self.cores.items()}


def family(variant: str) -> Family:
    """``native`` (no overlay), ``stock`` (what Linux offers) or ``ours``, of CASE/STEERING[+COALESCING]."""
    case, name = _VARIANT.fullmatch(variant).groups()  # type: ignore[union-attr]  # it matches any text
    if name not in _STOCK:
        return "ours"
    return "native" if case == "native" else "stock"


def rows(samples: Sequence[Sample], baseline: str) -> list[Row]:
    """One row a variant, in order of first appearance; BadInput where the baseline is none of them."""
    of: dict[str, list[Sample]] = {}
    for sample in samples:
        of.setdefault(sample["variant"], []).append(sample)
    if baseline not in of:
        raise unknown("baseline", baseline, of)
    base = {_round(sample): sample["rate"] for sample in of[baseline] if sample["rate"] > 0}
    return [_row(variant, runs, base) for variant, runs in of.items()]


def _round(run: Sample) -> tuple[int, int]:
    """Batch and round: what is compared ran in the same of both."""
    return run.get("batch", 0), run["round"]


def _row(variant: str, runs: Sequence[Sample], base: Mapping[tuple[int, int], float]) -> Row:
    rates = tuple(run["rate"] / 1e6 for run in runs)
    paired = [run for run in runs if _round(run) in base]
    ratios = [run["rate"] / base[_round(run)] for run in paired]
    p50, p99 = (_median(runs, "latency", name) for name in ("p50", "p99"))
    return Row(
        variant=variant,
        family=family(variant),
        rates=rates,
        rate=interval(rates, batches=_batches(runs)),
        ratio=interval(ratios, batches=_batches(paired)) if ratios else None,
        lost=float(np.median([_lost(run) for run in runs])),
        reordered=_median(runs, "order", "reordered"),
        extent_p99=_median(runs, "order", "extent_p99"),
        p50=None if p50 is None else p50 / 1e3,
        p99=None if p99 is None else p99 / 1e3,
        cpu_ns=_cpu_ns(runs),
        softirqs=_median(runs, "per_packet", "softirqs"),
        cores=_cores(runs),
        wire=float(np.median([run.get("wire_share", 0.0) for run in runs])),
        limited=sum(bool(run.get("limited")) for run in runs),
        invalid=tuple(dict.fromkeys(reason for run in runs for reason in run.get("invalid", ()))),
    )


def _batches(runs: Sequence[Sample]) -> list[int]:
    return [_round(run)[0] for run in runs]


def _lost(run: Sample) -> float:
    return 1 - run["delivered"] / run["offered"] if run["offered"] else 0.0


def _median(runs: Sequence[Sample], group: str, name: str) -> float | None:
    found = [run[group][name] for run in runs if (run.get(group) or {}).get(name) is not None]
    return float(np.median(found)) if found else None


def _cpu_ns(runs: Sequence[Sample]) -> float | None:
    found = [
        sum(1 - shares.get("idle", 0.0) - shares.get("wire", 0.0) for shares in run["cores"].values())
        / run["rate"]
        for run in runs
        if run["rate"] > 0 and run["cores"]
    ]
    return float(np.median(found)) * 1e9 if found else None


def _cores(runs: Sequence[Sample]) -> dict[int, dict[str, float]]:
    kinds: dict[int, dict[str, float]] = {}
    for run in runs:
        for core, shares in run["cores"].items():
            sums = kinds.setdefault(int(core), {})
            for kind, share in shares.items():
                sums[kind] = sums.get(kind, 0.0) + share / len(runs)
    return dict(sorted(kinds.items()))


def three(value: float | None) -> str:
    """Three significant digits: ``0.450``, ``2.65``, ``246``, ``12,300``; a dash for None."""
    if value is None:
        return DASH
    if value == 0:
        return "0"
    if abs(value) >= 999.5:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.1g}" if abs(value) < 1e-3 else f"{value:#.3g}".rstrip(".")


def spread(found: Interval | None, unit: str = "") -> str:
    """``2.65 [2.60, 2.71]``, with a unit behind the first."""
    if found is None:
        return DASH
    return f"{three(found.median)}{unit} [{three(found.low)}, {three(found.high)}]"


def percent(share: float | None) -> str:
    """``41``, ``0.12`` or ``<0.01`` of a share; without the sign."""
    if share is None:
        return DASH
    if 0 < share < 1e-4:
        return "<0.01"
    return f"{share * 100:.0f}" if share >= 0.0995 else f"{share * 100:.2g}"


_COLUMNS: dict[str, Callable[[Row], str]] = {
    "Mpps": lambda row: three(row.rate.median),
    f"{TIMES} baseline": lambda row: spread(row.ratio),
    "lost %": lambda row: percent(row.lost),
    "late %": lambda row: percent(row.reordered),
    "by": lambda row: three(row.extent_p99),
    "p50 µs": lambda row: three(row.p50),
    "p99 µs": lambda row: three(row.p99),
    "busy %": lambda row: " ".join(f"{share * 100:.0f}" for share in row.busy().values()),
    "wire": lambda row: f"{row.wire * 100:.0f}",
}
_COST: dict[str, Callable[[Row], str]] = {
    "CPU ns": lambda row: three(row.cpu_ns),
    "softirqs": lambda row: three(row.softirqs),
}
"""Columns for which a terminal is too narrow."""
_LEGEND = (
    f"Mpps: million packets a second delivered, the rounds' median; {TIMES} baseline: that of their ratios.",
    "late %, by: overtaken by later packets, 99 % of those by at most so many. p50, p99: latency.",
    "busy %: each core, one after the other; wire: the part of it that makes the packets, %.",
)


_ALL = _COLUMNS | _COST


def cells(row: Row) -> dict[str, str]:
    """What the columns say of a variant."""
    return {name: show(row) for name, show in _ALL.items()}


def legend() -> tuple[str, ...]:
    """What the columns mean."""
    return (
        *_LEGEND,
        "CPU ns, softirqs: of all cores, without the wire's part, and NET_RX entries; a delivered packet.",
    )


def notes(table: Sequence[Row]) -> list[str]:
    """What must be known about single rows: no result, or limited by the wire."""
    return [
        *(f"invalid: {row.variant}: {'; '.join(row.invalid)}" for row in table if row.invalid),
        *(
            f"wire-limited: {row.variant}: in {row.limited} of {len(row.rates)} rounds; it may do more"
            for row in table
            if row.limited
        ),
    ]


def marked(row: Row) -> str:
    """The variant, with what its notes say in a word."""
    return row.variant + " (invalid)" * bool(row.invalid) + " (wire-limited)" * bool(row.limited)


def as_text(table: Sequence[Row]) -> str:
    """For a terminal or a pipe: no colours, no line longer than 120."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    made = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    made.add_column("variant", overflow="fold")
    for name in _COLUMNS:
        made.add_column(name, justify="right")
    for row in table:  # Text: a path in a variant is no markup
        made.add_row(Text(marked(row)), *(Text(cell(row)) for cell in _COLUMNS.values()))
    page = io.StringIO()
    # With a height as well, or a dumb terminal's size would be taken instead.
    console = Console(file=page, width=MOST_COLUMNS, height=25, color_system=None, force_terminal=False)
    console.print(made)
    for line in ("", *_LEGEND, *notes(table)):
        console.print(Text(line))
    return "\n".join(line.rstrip() for line in page.getvalue().splitlines()) + "\n"


def as_markdown(table: Sequence[Row]) -> str:
    """A table for a page, and its notes as paragraphs."""
    lines = [["variant", *_ALL], ["---", *["---:"] * len(_ALL)]]
    lines += [[f"`{row.variant}`", *cells(row).values()] for row in table]
    body = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
    return "\n".join([*body, "", *(part for line in (*legend(), *notes(table)) for part in (line, ""))])


def as_json(table: Sequence[Row]) -> str:
    """A list of objects with the fields of `Row`; rates in Mpps, latency in µs, shares from 0 to 1."""
    return json.dumps([_plain(row) for row in table], indent=1) + "\n"


def _plain(row: Row) -> dict[str, Any]:
    def ends(found: Interval | None) -> dict[str, float] | None:
        return {"median": found.median, "low": found.low, "high": found.high} if found else None

    return vars(row) | {"rate": ends(row.rate), "ratio": ends(row.ratio), "busy": row.busy()}
