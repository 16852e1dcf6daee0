"""What a comparison on a live overlay says, as data and for a person."""

from collections.abc import Sequence
from statistics import median
from typing import Any

from bench import ab
from bench.live import LiveSample
from bench.statistics import compare

BOUND = 0.1
"""Share by which a run's offered load may differ from the median of its round."""
_UNKNOWN = ("loss", "order", "latency_ns", "wire_share", "wire_limited")
"""What only one's own wire and sink tell."""
_LOAD = "the load is the traffic's own, and not controlled"


def report(a: Sequence[LiveSample], b: Sequence[LiveSample], device: str, seed: int = 0) -> dict[str, Any]:
    """The whole comparison, for JSON: as `bench.ab.report` has it, but for what nobody knows here."""
    found = compare(
        [each.rate for each in a],
        [each.rate for each in b],
        seed=seed,
        invalid=[reason for each in (*a, *b) for reason in each.invalid],
    )
    rounds = [_round(one, two) for one, two in zip(a, b, strict=True)]
    return {
        "on": device,
        "a": a[0].variant,
        "b": b[0].variant,
        "metric": "delivered_pps",
        "load": _LOAD,
        "ratio": {"median": found.ratio.median, "low": found.ratio.low, "high": found.ratio.high},
        "verdict": found.verdict,
        "reasons": [*found.reasons],
        "warnings": [*found.warnings, *_uneven(rounds)],
        "rounds": rounds,
        "unequal": ab.unequal(a[0].settings, b[0].settings),
        "variants": {side: _summary(samples) for side, samples in zip("ab", (a, b), strict=True)},
    }


def lines(found: dict[str, Any]) -> list[str]:
    """The comparison for a person."""
    text = ab.lines(found, _SHOWN)
    for side in "ab":
        got = found["variants"][side]["containers"]
        shown = (f"{name} {rate / 1e6:.3f}" for name, rate in got.items() if rate)
        text.append(f"{side} by container, Mpps: {', '.join(shown) or 'nothing'}")
    return [*text, f"on {found['on']}: {found['load']}"]


def _summary(samples: Sequence[LiveSample]) -> dict[str, Any]:
    names = samples[0].containers
    return {
        **{name: value for name, value in ab.summary(samples).items() if name not in _UNKNOWN},
        "fast": median(each.fast for each in samples),
        "containers": {name: median(each.containers[name] for each in samples) for name in names},
    }


def _round(one: LiveSample, two: LiveSample) -> dict[str, Any]:
    """Rates, and loads; ``marked`` where one had another load than the other."""
    offered = {"a": one.offered_rate, "b": two.offered_rate}
    middle = median(offered.values())
    uneven = [side for side, rate in offered.items() if abs(rate - middle) > BOUND * middle]
    return {"a": one.rate, "b": two.rate, "offered": offered, "marked": uneven}


def _uneven(rounds: Sequence[dict[str, Any]]) -> list[str]:
    marked = [str(number) for number, each in enumerate(rounds, 1) if each["marked"]]
    if not marked:
        return []
    return [
        f"in round {', '.join(marked)} the NIC's load was more than {BOUND:.0%} off the round's median:"
        " the traffic changed, or follows what is delivered, as TCP does"
    ]


_SHOWN: dict[str, ab.Show] = {
    "variant": ab.SHOWN["variant"],
    "delivered, Mpps": ab.SHOWN["delivered, Mpps"],
    "at the NIC, Mpps": ab.SHOWN["offered, Mpps"],
    "IP, Gbit/s": ab.SHOWN["goodput, Gbit/s"],
    "by the fast path": lambda row: f"{row['fast']:.1%}",
    **{
        name: ab.SHOWN[name]
        for name in (
            "busy, by core",
            "softirqs a packet",
            "NAPI polls a packet",
            "packets a cpumap bulk",
            "context switches a packet",
            "IPIs a packet",
        )
    },
}
