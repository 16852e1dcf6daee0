"""A comparison of two variants as one JSON object: what ``overspray ab --json`` prints."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

from bench.analysis import METRICS, Row, compare_runs, figures, run_reasons
from bench.experiment import Limits
from bench.sample import Sample
from bench.statistics import Interval
from bench.variant import Variant
from steering.errors import BadInput, unknown


def compared(
    a: Sequence[Sample], b: Sequence[Sample], metric: str = "rate", limits: Limits | None = None
) -> dict[str, Any]:
    """Runs of variant b against those of variant a, paired by round.

    ``a`` and ``b`` are the variants' texts, ``variants`` what each of them did (keys ``a`` and
    ``b``, for both may be the same variant), ``rounds`` the metric's values in ``unit``.

    Raises:
        BadInput: unknown metric, or no round that both have it in.
    """
    if metric not in METRICS:
        raise unknown("metric", metric, METRICS)
    result = compare_runs(a, b, metric=metric, limits=limits)
    if result is None:
        raise BadInput(f"no round has '{metric}' for both variants: nothing to compare")
    value = METRICS[metric].value
    left, right = ({s.round: value(s) for s in runs} for runs in (a, b))
    return {
        "a": a[0].variant,
        "b": b[0].variant,
        "metric": metric,
        "unit": METRICS[metric].unit,
        "better": METRICS[metric].better,
        "ratio": _interval(result.ratio),
        "verdict": result.verdict,
        "reasons": list(result.reasons),
        "warnings": list(result.warnings),
        "rounds": [
            {"round": n, "a": left[n], "b": right[n]} for n in sorted(left.keys() & right.keys())
        ],
        "variants": {"a": described(a), "b": described(b)},
    }


def described(samples: Sequence[Sample]) -> dict[str, Any]:
    """What one variant did: medians over its runs, raw units (packets, bits, ns, shares of 1)."""
    row = Row(Variant.parse(samples[0].variant), tuple(samples), figures(samples), {})
    return {
        "variant": samples[0].variant,
        "source": samples[0].source,
        "rate_pps": _median([s.rate_pps for s in samples]),
        "goodput_bps": _median([s.goodput_bps for s in samples]),
        "offered_pps": _median([s.offered / s.seconds for s in samples]),
        "loss": _median([s.loss for s in samples]),
        "drops": row.drops,
        "order": _medians([s.order for s in samples]),
        "latency_ns": _medians([s.latency for s in samples]),
        "cores": {str(core): shares for core, shares in row.cores.items()},
        "cpu_ns_per_packet": row.figures["cpu"].median if "cpu" in row.figures else None,
        "per_packet": _medians([s.per_packet for s in samples]),
        "gathered": _medians([s.gathered for s in samples]),
        "wire_share": _median([s.wire_share for s in samples]),
        "settings": samples[0].settings,
        "invalid": list(run_reasons(samples)),
    }


def _median(values: Sequence[float]) -> float:
    return statistics.median(values)


def _medians(parts: Sequence[dict[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: _median([part[name] for part in parts if name in part]) for name in names}


def _interval(found: Interval) -> dict[str, float | None]:
    values = {"median": found.median, "low": found.low, "high": found.high}
    # JSON has no NaN.
    return {name: None if math.isnan(value) else value for name, value in values.items()}
