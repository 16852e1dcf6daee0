"""The model against lab runs that its costs were not fitted to: table, errors, order, picture."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

from prototype.calibrate import ISOLATES, predicted
from prototype.costs import Costs
from prototype.records import Row
from steering.errors import BadInput

MEDIAN_AT_MOST, WORST_AT_MOST = 0.10, 0.25
"""Errors of throughput that are asked for."""
_ANCHORS = 4
"""Variants that calibration looks at, at least so many, tell how fast the host was at a point."""
_EASY = 0.99
"""Of what was asked: who delivers that much shows nothing about costs."""
_APART = 0.05


@dataclass(frozen=True)
class Compared:
    """A row and what the model says of it."""

    row: Row
    rate: float
    """Predicted, packets a second."""
    anchored: float | None
    """The same for how fast the host was while that point was measured, which the variants say that
    calibration looks at; None where they were not measured, and for themselves."""

    @property
    def error(self) -> float:
        """Of the rate, with its sign."""
        return self.rate / self.row.measured - 1

    @property
    def anchored_error(self) -> float | None:
        """Of the anchored rate."""
        return None if self.anchored is None else self.anchored / self.row.measured - 1

    @property
    def easy(self) -> bool:
        """All that was asked was delivered, and the model says so too."""
        asked = self.row.asked
        return asked is not None and min(self.rate, self.row.measured) >= _EASY * asked

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        more = {
            "anchored": self.anchored,
            "error": self.error,
            "anchored_error": self.anchored_error,
            "easy": self.easy,
        }
        return asdict(self.row) | {"predicted": self.rate} | more


@dataclass(frozen=True)
class Errors:
    """Sizes of errors, without those of easy rows."""

    rows: int
    median: float
    worst: float
    worst_row: str

    @property
    def holds(self) -> bool:
        """Within what is asked for."""
        return self.median <= MEDIAN_AT_MOST and self.worst <= WORST_AT_MOST


def compare(
    rows: Sequence[Row], costs: Costs, note: Callable[[int], object] = lambda done: None
) -> tuple[list[Compared], dict[str, str]]:
    """Predict all rows but those that the costs were fitted to.

    Returns:
        The rows, and for each that the model does not have, why.
    """
    rates: dict[str, float] = {}
    left_out: dict[str, str] = {}
    for done, row in enumerate(rows, 1):
        try:
            rates[row.key] = predicted(row, costs, 0.1)
        except BadInput as error:
            left_out[row.key] = str(error)
        note(done)
    speeds = _speeds([row for row in rows if row.key in rates], rates)
    found = []
    for row in rows:
        if row.key not in rates or row.key in costs.used:
            continue
        speed = speeds.get((row.experiment, row.point))
        again = None
        if speed is not None and row.variant not in ISOLATES:
            again = min(rates[row.key] * speed, row.asked or math.inf)
        found.append(Compared(row, rates[row.key], again))
    return found, left_out


def _speeds(rows: Sequence[Row], rates: Mapping[str, float]) -> dict[tuple[str, str], float]:
    """How fast the host was at each point: only within one the runs took turns."""
    shares: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        easy = row.asked is not None and min(rates[row.key], row.measured) >= _EASY * row.asked
        if row.variant in ISOLATES and not easy:
            point = row.experiment, row.point
            shares.setdefault(point, []).append(row.measured / rates[row.key])
    return {point: median(each) for point, each in shares.items() if len(each) >= _ANCHORS}


def errors(rows: Sequence[Compared], with_anchor: bool = False) -> Errors:
    """Of all rows that are not easy."""
    sizes = [
        (abs(size), each.row.key)
        for each in rows
        if not each.easy
        and (size := each.anchored_error if with_anchor else each.error) is not None
    ]
    if not sizes:
        raise BadInput("no run to predict: name results that calibration did not use")
    worst, name = max(sizes)
    return Errors(len(sizes), median(size for size, _ in sizes), worst, name)


def order(rows: Sequence[Compared]) -> tuple[int, int]:
    """Pairs at the same point that the model puts in the measured order, of those whose measured
    medians are apart."""
    same = all_pairs = 0
    for a, b in combinations([each for each in rows if not each.easy], 2):
        alike = (a.row.experiment, a.row.point) == (b.row.experiment, b.row.point)
        if not alike or abs(a.row.measured / b.row.measured - 1) < _APART:
            continue
        all_pairs += 1
        same += (a.row.measured > b.row.measured) == (a.rate > b.rate)
    return same, all_pairs


def markdown(rows: Sequence[Compared]) -> str:
    """A table, by experiment and point."""
    lines = [
        "| runs | variant | measured, Mpps | predicted | error | anchored | error |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for each in rows:
        row = each.row
        again = "-" if each.anchored is None else f"{each.anchored / 1e6:.3g}"
        off = "-" if each.easy or each.anchored_error is None else f"{each.anchored_error:+.0%}"
        error = "all asked" if each.easy else f"{each.error:+.0%}"
        lines.append(
            f"| {row.experiment}: {row.point} | `{row.variant}` | {row.measured / 1e6:.3g}"
            f" | {each.rate / 1e6:.3g} | {error} | {again} | {off} |"
        )
    return "\n".join(lines)


def picture(rows: Sequence[Compared], path: Path) -> None:
    """Predicted against measured, one point a row."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(5, 4.4), dpi=110)
    hard = [each for each in rows if not each.easy]
    for mark, name in zip(
        "osv^D", dict.fromkeys(each.row.experiment for each in hard), strict=False
    ):
        mine = [each for each in hard if each.row.experiment == name]
        x, y = [e.row.measured / 1e6 for e in mine], [(e.anchored or e.rate) / 1e6 for e in mine]
        axes.scatter(x, y, s=22, marker=mark, label=name, alpha=0.75)
    most = 1.08 * max(max(e.row.measured, e.rate, e.anchored or 0) for e in hard) / 1e6
    line = [0.0, most]
    axes.plot(line, line, color="black", linewidth=0.8)
    axes.fill_between(
        line,
        [(1 - WORST_AT_MOST) * x for x in line],
        [(1 + WORST_AT_MOST) * x for x in line],
        color="grey",
        alpha=0.15,
        label=f"±{WORST_AT_MOST:.0%}",
    )
    axes.set(xlim=line, ylim=line, xlabel="measured in the lab (veth), Mpps")
    axes.set_ylabel("predicted by the twin, Mpps")
    axes.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
