"""Numbers as people read them: three digits, an interval, a ratio."""

import math

from bench.statistics import Comparison, Interval

TIMES = "\N{MULTIPLICATION SIGN}"
DASH = "\N{EN DASH}"


def three(value: float) -> str:
    """Three significant digits, thousands in groups: ``0.450``, ``2.65``, ``246``, ``12,300``."""
    if value == 0:
        return "0"
    if abs(value) >= 999.5:
        return f"{float(f'{value:.3g}'):,.0f}"
    if abs(value) < 1e-3:
        return f"{value:.1g}"
    return f"{value:#.3g}".rstrip(".")


def with_interval(found: Interval) -> str:
    """``2.65 [2.60, 2.71]``."""
    return f"{three(found.median)} [{three(found.low)}, {three(found.high)}]"


def times(found: Comparison) -> str:
    """A ratio with its interval; a dash when there was nothing to divide by."""
    ratio = found.ratio
    if math.isnan(ratio.median):
        return DASH
    return f"{three(ratio.median)}{TIMES} [{three(ratio.low)}, {three(ratio.high)}]"
