"""Figures quoted in a text: named there by where they are from, put in from the saved results.

``{EXPERIMENT | POINT | VARIANT | FIGURE}`` becomes the figure's median with its interval, and
``{EXPERIMENT | POINT | VARIANT / BASELINE | FIGURE}`` the ratio of the two, paired by round. A
point is named by its title in a report, a figure as in :data:`bench.metrics.METRICS`.
"""

import re
from functools import cache
from pathlib import Path

from bench.analysis import Row, compare_runs
from bench.metrics import METRICS, Metric
from bench.report import Report
from bench.results import Results
from bench.statistics import Comparison
from bench.text import times, with_interval
from bench.variant import Variant
from steering.errors import BadInput, unknown

_QUOTE = re.compile(r"\{([^{}]+)\}")
_RATIO = " / "


def filled(text: str, folder: Path) -> str:
    """The text with its figures, from the experiments' results below ``folder``.

    Raises:
        BadInput: no such result, point, variant or figure, or text of another form in braces.
    """
    return _QUOTE.sub(lambda found: _put(found[1], folder), text)


def known(metric: str) -> Metric:
    """The figure of that name. BadInput: there is none."""
    if metric not in METRICS:
        raise unknown("figure", metric, METRICS)
    return METRICS[metric]


def figure(folder: Path, experiment: str, point: str, variant: str, metric: str) -> str | None:
    """A median with its interval; None where the variant has no such figure.

    Raises:
        BadInput: no such result, point, variant or figure.
    """
    known(metric)
    found = _row(report(folder / experiment), point, variant).figures.get(metric)
    return with_interval(found) if found else None


def ratio(
    folder: Path, experiment: str, point: str, variant: str, base: str, metric: str
) -> Comparison:
    """What a variant has of a baseline's figure, paired by round.

    Raises:
        BadInput: no such result, point, variant or figure, or no round has it for both.
    """
    known(metric)
    runs = report(folder / experiment)
    row, other = (_row(runs, point, each) for each in (variant, base))
    limits = runs.experiment.limits
    found = compare_runs(other.samples, row.samples, metric=metric, limits=limits)
    if found is None:
        raise BadInput(
            f"{folder / experiment}: no round has '{metric}' for both '{variant}' and '{base}'"
        )
    return found


def _put(quote: str, folder: Path) -> str:
    parts = [part.strip() for part in quote.split("|")]
    if len(parts) != 4:
        raise BadInput(f"'{{{quote}}}': write EXPERIMENT | POINT | VARIANT | FIGURE")
    name, point, variants, metric = parts
    variant, _, base = variants.partition(_RATIO)
    if base:
        return times(ratio(folder, name, point, variant, base, metric))
    found = figure(folder, name, point, variant, metric)
    if found is None:
        raise BadInput(f"'{{{quote}}}': that run has no figure '{metric}'")
    return found


@cache
def report(folder: Path) -> Report:
    """The report of a result directory; read once."""
    return Report(Results.open(folder))


def _row(runs: Report, point: str, variant: str) -> Row:
    tables = {table.title: table for table in runs.tables}
    if point not in tables:
        raise unknown("point", point, tables)
    row = tables[point].row(Variant.parse(variant))
    if row is None:
        raise unknown("variant", variant, [str(each.variant) for each in tables[point].rows])
    return row
