"""How several flows shared: Jain's index, and what became of those that are not the elephant."""

from collections.abc import Sequence

import numpy as np

from bench import histogram
from bench.sinks import ByFlow
from bench.traffic import Traffic, weights


def of(found: ByFlow, traffic: Traffic, seconds: float) -> dict[str, float]:
    """``jain``, ``first`` and ``others`` (packets a second), ``least`` (what the worst flow got of
    its share of all that was delivered), ``p50``, ``p99``, ``p99.9`` (ns) of the others. Empty of
    one flow, and where the sink can't tell.
    """
    if traffic.flows == 1 or not found.delivered.sum():
        return {}
    delivered = np.zeros(traffic.flows)
    known = found.delivered[: traffic.flows]
    delivered[: len(known)] = known
    weight = np.array(weights(traffic), float)
    shares = delivered / weight
    latency = {
        name: value
        for name, share in (("p50", 50.0), ("p99", 99.0), ("p99.9", 99.9))
        if (value := histogram.percentile(found.others, share)) is not None
    }
    return {
        "jain": jain(list(shares)),
        "first": float(delivered[0] / seconds),
        "others": float(delivered[1:].sum() / seconds),
        "least": float(shares.min() / (delivered.sum() / weight.sum())),
        **latency,
    }


def jain(shares: Sequence[float]) -> float:
    """Jain's fairness index: 1 when all have the same, 1/n when one has all (RFC 5166, 2.9.1)."""
    values = np.asarray(shares, float)
    squares = float((values**2).sum())
    return float(values.sum()) ** 2 / (len(values) * squares) if squares else 0.0
