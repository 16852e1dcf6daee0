"""The comparison of two variants: what the rounds say, as data and for a person."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from bench.explain import Explained
from bench.run import WIRE_LIMIT, Sample
from bench.statistics import Comparison, compare
from bench.traffic import Traffic

Show = Callable[[dict[str, Any]], str]
"""A cell of the table, of a variant's `summary`."""
METRICS = {"search": "loss_free_pps", "best": "best_delivered_pps"}
"""What is compared where a load was searched for; else what is delivered."""
_DISTURBED = 0.05
"""Share of a core that other threads than the wire and the workers may have."""


def compared(
    a: Sequence[Sample], b: Sequence[Sample], seed: int = 0, batches: Sequence[int] | None = None
) -> Comparison:
    """The median of the rounds' ratios of delivered packets a second, b to a, and its verdict.

    Both have one sample a round, in the same order; ``batches`` says of which batch each round is.
    """
    found = compare(
        [each.rate for each in a],
        [each.rate for each in b],
        seed=seed,
        invalid=[reason for each in (*a, *b) for reason in each.invalid],
        limited_a=is_limited(a),
        limited_b=is_limited(b),
        batches=batches,
    )
    return replace(found, warnings=(*found.warnings, *disturbances(a), *disturbances(b)))


def disturbances(samples: Sequence[Sample]) -> list[str]:
    """Where other work on this machine took part of a variant's cores: a line for each such core."""
    shares = {
        core: median(each.cores[core].get("other", 0.0) for each in samples) for core in samples[0].cores
    }
    return [
        f"other work took {share:.0%} of core {core} from {samples[0].variant}: measure again in quiet"
        for core, share in shares.items()
        if share > _DISTURBED
    ]


def is_limited(samples: Sequence[Sample]) -> bool:
    """Whether the wire was the limit in the middle one of these runs."""
    unmet = sum(each.limited for each in samples) * 2 > len(samples)
    return unmet and median(each.wire_share for each in samples) > WIRE_LIMIT


def summary(samples: Sequence[Sample]) -> dict[str, Any]:
    """One variant's figures: medians over its runs, but for drops, which are sums."""
    drops: dict[str, dict[str, int]] = {}
    for each in samples:
        for stage, names in each.drops.items():
            for name, count in names.items():
                part = drops.setdefault(stage, {})
                part[name] = part.get(name, 0) + count
    return {
        "variant": samples[0].variant,
        "delivered_pps": median(each.rate for each in samples),
        "offered_pps": median(each.offered_rate for each in samples),
        "goodput_bps": median(each.rate * 8 * each.bytes / max(1, each.delivered) for each in samples),
        "loss": median(each.loss for each in samples),
        "drops": drops,
        "order": _medians([each.order for each in samples]),
        "latency_ns": _medians([each.latency for each in samples]),
        "busy": {
            core: 1 - median(each.cores[core].get("idle", 0.0) for each in samples)
            for core in samples[0].cores
        },
        "cores": {core: _medians([each.cores[core] for each in samples]) for core in samples[0].cores},
        "per_packet": _medians([each.per_packet for each in samples]),
        "wire_share": median(each.wire_share for each in samples),
        "wire_limited": is_limited(samples),
        "settings": samples[0].settings,
    }


def report(
    a: Sequence[Sample],
    b: Sequence[Sample],
    seed: int = 0,
    traffic: Traffic | None = None,
    sink: str = "count",
    explained: Sequence[Explained] = (),
    wanted: str = "",
) -> dict[str, Any]:
    """The whole comparison, for JSON; ``explained``, where there is any, of ``a`` and of ``b``."""
    found = compared(a, b, seed)
    ratio = {"median": found.ratio.median, "low": found.ratio.low, "high": found.ratio.high}
    return {
        "a": a[0].variant,
        "b": b[0].variant,
        "metric": METRICS.get(wanted, "delivered_pps"),
        "traffic": _sent(traffic, wanted) if traffic else None,
        "sink": sink,
        "ratio": ratio,
        "verdict": found.verdict,
        "reasons": [*found.reasons],
        "warnings": [*found.warnings],
        "rounds": [{"a": one.rate, "b": two.rate} for one, two in zip(a, b, strict=True)],
        "trials": [{"a": one.trials, "b": two.trials} for one, two in zip(a, b, strict=True) if one.trials],
        "unequal": unequal(a[0].settings, b[0].settings),
        "variants": {
            side: summary(samples) | {"explained": told.as_dict() if told else None}
            for side, samples, told in zip("ab", (a, b), explained or (None, None), strict=True)
        },
    }


def _sent(traffic: Traffic, wanted: str) -> dict[str, Any]:
    """For JSON; of a load that was searched for, what was looked for: the trials tell its rates."""
    return traffic.as_dict() | ({"rate": wanted} if wanted in METRICS else {})


def unequal(a: dict[str, str], b: dict[str, str]) -> dict[str, list[str | None]]:
    """The settings in which the two arms differ, with both values; None: an arm has no such device."""
    names = sorted({**a, **b})
    return {name: [a.get(name), b.get(name)] for name in names if a.get(name) != b.get(name)}


def lines(found: dict[str, Any], shown: Mapping[str, Show] | None = None) -> list[str]:
    """The comparison for a person; the rows of the table are ``shown``, by name, or all of SHOWN."""
    ratio, rows = found["ratio"], found["variants"]
    head = (
        f"{found['b']} is {ratio['median']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}] times {found['a']}"
    )
    text = [f"{head}: {found['verdict']}, {len(found['rounds'])} rounds"]
    text += [_SEARCHED[found["metric"]]] if found["metric"] in _SEARCHED else []
    text += [f"{side} is {one['text']} of {one['file']}" for side, one in found.get("named", {}).items()]
    text.append("")
    table = [
        ["", "a", "b"],
        *([name, show(rows["a"]), show(rows["b"])] for name, show in (shown or SHOWN).items()),
    ]
    widths = [max(len(row[at]) for row in table) for at in range(3)]
    text += [f"{row[0]:{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}".rstrip() for row in table]
    for side in "ab":
        lost = rows[side]["drops"]
        named = (f"{stage} {name} {count}" for stage, names in lost.items() for name, count in names.items())
        if lost:
            text.append(f"{side} lost: {', '.join(named)}")
        if told := rows[side].get("explained"):
            text += [f"{side} lost, in a run that tells reasons: {where}" for where in _where(told)]
        if rows[side].get("wire_limited"):
            text.append(f"{side} is limited by the wire: its true figure may be higher")
    if found["unequal"]:
        both = (f"{name} {one} | {two}" for name, (one, two) in found["unequal"].items())
        text.append(f"settings that differ (a | b): {', '.join(both)}")
    return text + [f"{kind}: {word}" for kind in ("reasons", "warnings") for word in found[kind]]


_SEARCHED = {
    "loss_free_pps": "each at its highest load within the allowed loss, searched for in every round",
    "best_delivered_pps": "each at the load at which it delivers most, searched for in every round",
}


def _busy(row: dict[str, Any]) -> str:
    return " ".join(f"{core}:{share:.0%}" for core, share in row["busy"].items())


def _where(told: dict[str, Any]) -> list[str]:
    """Shares of what was offered, by stage and reason, in one text; nothing where nothing was lost."""
    stages = told["ours"] | told["freed"] | {"unexplained": {"": told["unexplained"]}}
    lost = {f"{stage} {name}".rstrip(): n for stage, names in stages.items() for name, n in names.items()}
    parts = [f"{name} {n / max(1, told['offered']):.2%} ({n})" for name, n in lost.items() if n]
    return [", ".join(parts)] if parts else []


def _each(row: dict[str, Any], name: str, of: str = "") -> str:
    """Events of that name for each packet, or for each event of another name."""
    events = row["per_packet"]
    count, by = events.get(name), events.get(of, 0) if of else 1
    return f"{count / by:.3g}" if count is not None and by else "-"


def _packets_an_skb(row: dict[str, Any]) -> str:
    told = row["explained"]
    return f"{told['segments_per_skb']:.3g}" if told and told["segments_per_skb"] else "-"


def _us(row: dict[str, Any], name: str) -> str:
    return f"{row['latency_ns'][name] / 1e3:.0f}" if name in row["latency_ns"] else "-"


SHOWN: dict[str, Show] = {
    "variant": lambda row: row["variant"],
    "delivered, Mpps": lambda row: f"{row['delivered_pps'] / 1e6:.3f}",
    "offered, Mpps": lambda row: f"{row['offered_pps'] / 1e6:.3f}",
    "goodput, Gbit/s": lambda row: f"{row['goodput_bps'] / 1e9:.3f}",
    "lost": lambda row: f"{row['loss']:.2%}",
    "reordered": lambda row: f"{row['order']['reordered']:.1%}",
    "late by (p99), packets": lambda row: f"{row['order']['extent_p99']:.0f}",
    "latency p50, µs": lambda row: _us(row, "p50"),
    "latency p99, µs": lambda row: _us(row, "p99"),
    "latency p99.9, µs": lambda row: _us(row, "p99.9"),
    "busy, by core": _busy,
    "softirqs a packet": lambda row: _each(row, "softirqs"),
    "NAPI polls a packet": lambda row: _each(row, "polls"),
    "packets a poll": lambda row: _each(row, "polled", "polls"),
    "packets an skb": _packets_an_skb,
    "packets a cpumap bulk": lambda row: _each(row, "bulked", "bulks"),
    "context switches a packet": lambda row: _each(row, "switches"),
    "IPIs a packet": lambda row: _each(row, "ipis"),
    "wire's share of its core": lambda row: f"{row['wire_share']:.0%}",
}


def _medians(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: median(row.get(name, 0.0) for row in rows) for name in names}
