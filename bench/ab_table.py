"""A comparison as a person reads it: effective settings, a table, the verdict."""

from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

Described = Mapping[str, Any]

_ROWS: tuple[tuple[str, Callable[[Described], str]], ...] = (
    ("delivered, Mpps", lambda v: f"{v['rate_pps'] / 1e6:.3f}"),
    ("offered, Mpps", lambda v: f"{v['offered_pps'] / 1e6:.3f}"),
    ("goodput, Gbps", lambda v: f"{v['goodput_bps'] / 1e9:.3f}"),
    ("lost", lambda v: f"{v['loss']:.2%}"),
    ("lost in", lambda v: _lost(v["drops"])),
    ("reordered", lambda v: _share(v["order"].get("reordered"))),
    ("late by, packets (p99)", lambda v: _number(v["order"].get("extent_p99"))),
    ("latency p50, us", lambda v: _micro(v["latency_ns"].get("p50"))),
    ("latency p99, us", lambda v: _micro(v["latency_ns"].get("p99"))),
    ("latency p99.9, us", lambda v: _micro(v["latency_ns"].get("p99.9"))),
    ("cores busy (wire apart)", lambda v: _busy(v["cores"])),
    ("CPU, ns a packet", lambda v: _number(v["cpu_ns_per_packet"])),
    ("softirqs a packet", lambda v: _number(v["per_packet"].get("softirqs"), 4)),
    ("NAPI polls a packet", lambda v: _number(v["per_packet"].get("polls"), 4)),
    ("switches a packet", lambda v: _number(v["per_packet"].get("switches"), 5)),
    ("packets to an skb", lambda v: _number(v["gathered"].get("skb"), 1)),
    ("the wire's share of its core", lambda v: f"{v['wire_share']:.0%}"),
)


def print_comparison(found: Mapping[str, Any]) -> None:
    """Settings on stderr, figures and verdict on stdout."""
    a, b = found["variants"]["a"], found["variants"]["b"]
    log = Console(stderr=True, highlight=False)
    for variant in (a, b):
        settings = ", ".join(f"{name}={value}" for name, value in _telling(variant["settings"]))
        log.print(f"{variant['variant']}: {settings}", style="dim")
    table = Table(box=None, header_style="bold")
    for column in ("", found["a"], found["b"]):
        table.add_column(column, justify="right" if column else "left")
    for name, value in _ROWS:
        table.add_row(name, value(a), value(b))
    console = Console(highlight=False)
    console.print(table)
    ratio = found["ratio"]
    console.print(
        f"{found['metric']} B/A: {ratio['median']:.3f} "
        f"[{ratio['low']:.3f}, {ratio['high']:.3f}] over {len(found['rounds'])} rounds: "
        f"[bold]{found['verdict']}[/bold]"
    )
    for line in (*found["reasons"], *found["warnings"]):
        console.print(f"  {line}")


def _telling(settings: Mapping[str, str]) -> list[tuple[str, str]]:
    """Settings that are not simply off."""
    return [(k, v) for k, v in settings.items() if v not in ("0", "False", "")]


def _lost(drops: Mapping[str, Mapping[str, float]]) -> str:
    parts = [
        f"{stage} {name.replace('_', ' ')}"
        for stage, names in drops.items()
        for name, count in names.items()
        if count
    ]
    return ", ".join(parts) or "-"


def _busy(cores: Mapping[str, Mapping[str, float]]) -> str:
    shares = [
        sum(share for kind, share in kinds.items() if kind not in ("wire", "neighbour", "steal"))
        for kinds in cores.values()
    ]
    return " ".join(f"{share:.0%}" for share in shares) or "-"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _micro(value: float | None) -> str:
    return "-" if value is None else f"{value / 1e3:.0f}"


def _number(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
