"""The figures of a run, each with its unit and the direction that is better."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.sample import Sample
from bench.statistics import Better


@dataclass(frozen=True)
class Metric:
    """One figure of a run, in the unit in which it is shown; None where a run has not got it."""

    label: str
    unit: str
    better: Better
    value: Callable[[Sample], float | None]
    help: str


def _scaled(part: str, key: str, scale: float = 1.0) -> Callable[[Sample], float | None]:
    def value(sample: Sample) -> float | None:
        found: Mapping[str, float] = getattr(sample, part)
        return found[key] * scale if key in found else None

    return value


def _of_stream(name: str) -> Callable[[Sample], float | None]:
    """Of each ten thousand segments that were delivered, how many."""

    def value(sample: Sample) -> float | None:
        if name not in sample.tcp or not sample.delivered:
            return None
        return sample.tcp[name] / sample.delivered * 1e4

    return value


def _most(sample: Sample, kinds: Sequence[str]) -> float | None:
    """Share in percent that these have of a core's time without the wire's, on the worst core."""
    shares = (
        sum(core.get(kind, 0.0) for kind in kinds) / max(0.01, 1 - core.get("wire", 0.0))
        for core in sample.cores.values()
    )
    return max(shares) * 100 if sample.cores else None


def _sum_of(sample: Sample, names: Sequence[str]) -> float | None:
    """Events for each delivered packet, of several kinds."""
    if not sample.per_packet:
        return None
    return sum(sample.per_packet.get(name, 0.0) for name in names)


METRICS: dict[str, Metric] = {
    "rate": Metric(
        "delivered", "Mpps", "higher", lambda s: s.rate_pps / 1e6, "packets that the sink counted"
    ),
    "goodput": Metric(
        "goodput", "Gbit/s", "higher", lambda s: s.goodput_bps / 1e9, "their UDP payload"
    ),
    "offered": Metric(
        "offered", "Mpps", "higher", lambda s: s.offered / s.seconds / 1e6, "packets put on the NIC"
    ),
    "loss": Metric("lost", "%", "lower", lambda s: s.loss * 100, "offered but not delivered"),
    "reordered": Metric(
        "overtaken",
        "%",
        "lower",
        _scaled("order", "reordered", 100),
        "packets that a later one overtook (RFC 4737)",
    ),
    "extent": Metric(
        "late by",
        "packets",
        "lower",
        _scaled("order", "extent_p99"),
        "reordering extent of the overtaken ones, 99th percentile (RFC 4737)",
    ),
    "buffer": Metric(
        "buffer",
        "packets",
        "lower",
        _scaled("order", "buffer_p99"),
        "what a receiver holds to restore the order, 99th percentile (RFC 5236)",
    ),
    "p50": Metric(
        "p50", "µs", "lower", _scaled("latency", "p50", 1e-3), "latency from the intended send time"
    ),
    "p99": Metric(
        "p99", "µs", "lower", _scaled("latency", "p99", 1e-3), "latency from the intended send time"
    ),
    "p99.9": Metric(
        "p99.9",
        "µs",
        "lower",
        _scaled("latency", "p99.9", 1e-3),
        "latency from the intended send time",
    ),
    "merged": Metric(
        "merged", "segments/packet", "higher", _scaled("gathered", "tcp"), "as TCP gets them"
    ),
    "back": Metric(
        "late after GRO",
        "per 10⁴ segments",
        "lower",
        _of_stream("gro_back"),
        "packets that leave the NIC behind a later one, where ours delivers after GRO",
    ),
    "late": Metric(
        "late",
        "per 10⁴ segments",
        "lower",
        _of_stream("late"),
        "packets that reach TCP behind a later one",
    ),
    "acks": Metric(
        "ACKs", "per 10⁴ segments", "lower", _of_stream("acks"), "that the sender hears"
    ),
    "sacks": Metric(
        "SACKs", "per 10⁴ segments", "lower", _of_stream("sacks"), "of these, that tell of disorder"
    ),
    "resent": Metric(
        "sent again", "per 10⁴ segments", "lower", _of_stream("resent"), "by the sender"
    ),
    "spurious": Metric(
        "for nothing",
        "per 10⁴ segments",
        "lower",
        _of_stream("spurious"),
        "sent again though they had arrived, as D-SACKs tell a real sender",
    ),
    "cwnd": Metric(
        "cwnd",
        "KiB",
        "higher",
        lambda s: s.tcp["cwnd"] / 1024 if "cwnd" in s.tcp else None,
        "the largest congestion window of a real sender",
    ),
    "cpu": Metric(
        "CPU",
        "ns/packet",
        "lower",
        lambda s: s.cpu_seconds / s.delivered * 1e9 if s.delivered and s.cores else None,
        "time of all cores for each delivered packet, the wire's own left out",
    ),
    "softirqs": Metric(
        "softirqs",
        "/packet",
        "lower",
        _scaled("per_packet", "softirqs"),
        "NET_RX softirq entries for each delivered packet",
    ),
    "raised": Metric(
        "raised", "/packet", "lower", _scaled("per_packet", "raised"), "NET_RX softirqs asked for"
    ),
    "polls": Metric("polls", "/packet", "lower", _scaled("per_packet", "polls"), "polls of NAPI"),
    "switches": Metric(
        "switches",
        "/packet",
        "lower",
        _scaled("per_packet", "switches"),
        "context switches: a thread went to sleep",
    ),
    "preemptions": Metric(
        "preemptions",
        "/packet",
        "lower",
        _scaled("per_packet", "preemptions"),
        "context switches: a thread that could have gone on made way",
    ),
    "wakeups": Metric(
        "wake-ups",
        "/packet",
        "lower",
        _scaled("per_packet", "wakeups"),
        "of cpumap threads, from sleep",
    ),
    "ipis": Metric("IPIs", "/packet", "lower", _scaled("per_packet", "ipis"), "between cores"),
    "poll": Metric(
        "packets/poll", "packets", "higher", _scaled("gathered", "poll"), "of NAPI, all its stages"
    ),
    "bulk": Metric(
        "packets/bulk", "packets", "higher", _scaled("gathered", "bulk"), "of cpumap threads"
    ),
    "kernel": Metric(
        "kernel",
        "%",
        "lower",
        lambda s: _most(s, ("softirq", "cpumap", "napi")),
        "of the busiest core's time, the wire's left out: softirqs and the kernel's own threads",
    ),
    "application": Metric(
        "application",
        "%",
        "lower",
        lambda s: _most(s, ("application",)),
        "of its core's time, the wire's left out, its system calls included",
    ),
    "jain": Metric(
        "Jain's index", "", "higher", _scaled("flows", "jain"), "1: all flows got their share"
    ),
    "least": Metric(
        "worst flow", "of its share", "higher", _scaled("flows", "least"), "1: as much as all"
    ),
    "others": Metric(
        "others", "Mpps", "higher", _scaled("flows", "others", 1e-6), "all flows but the first"
    ),
    **{
        f"others-{name}": Metric(
            f"others' {name}", "µs", "lower", _scaled("flows", name, 1e-3), "but the first flow's"
        )
        for name in ("p50", "p99", "p99.9")
    },
    "chase": Metric(
        "chase", "ns/step", "lower", _scaled("neighbour", "chase_ns"), "a neighbour's pointer chase"
    ),
    "stream": Metric(
        "stream", "GB/s", "higher", _scaled("neighbour", "stream_gbs"), "a neighbour's reading"
    ),
    "work": Metric(
        "work units",
        "/packet",
        "lower",
        lambda s: _sum_of(s, ("polls", "bulks")),
        "NAPI polls, and batches that cpumap threads took: work moved there is no less work",
    ),
    "wire": Metric(
        "wire", "%", "lower", lambda s: s.wire_share * 100, "time the wire itself used on its core"
    ),
}
