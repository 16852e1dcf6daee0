"""One run: a variant in effect, traffic on the wire, everything counted until the last packet.

Counting starts with the first packet and ends when none is on its way any more, so that offered,
delivered and dropped packets must add up exactly.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bench import fairness, histogram, tcp_facts
from bench.bed import Bed, Effect
from bench.losses import Drops
from bench.sample import Sample
from bench.shot import Fired, Shot
from bench.sinks import Window
from bench.traffic import Traffic
from bench.variant import Variant
from prototype.order import Order, measure
from steering.spec import Spec
from steering.unit import Totals

_WIRE_LIMIT = 0.5
"""Share of its core above which the wire, not the receiver, says how much is offered."""
_FAST_ENOUGH = 0.99
"""Share of the packets that must take our fast path, or what is measured is mostly stock."""


_GATHERING = ("gro-list", "udp-forward")
_BEHIND_GRO = ("nic", "tunnel", "veth")
_GRO_MOST = 64
"""UDP_GRO_CNT_MAX in the kernel's net/ipv4/udp_offload.c."""


@dataclass(frozen=True)
class Load:
    """What a run is put under: the traffic, the sink, and for how long (seconds)."""

    traffic: Traffic
    sink: Spec
    seconds: float
    warmup: float = 0.2

    def at(self, rate: int | None) -> "Load":
        """The same at another offered rate (packets a second; None: as fast as it goes)."""
        return replace(self, traffic=self.traffic.at(rate))

    def lasting(self, seconds: float) -> "Load":
        """The same for another time."""
        return replace(self, seconds=seconds)


@dataclass(frozen=True)
class Place:
    """Where a run stands in an experiment."""

    point: str = "ab"
    round: int = 0
    position: int = 0


class Measure(Protocol):
    """Measures the variant that is in effect, once."""

    def __call__(self, load: Load, place: Place) -> Sample:
        """A run under this load."""


class Ready(Protocol):
    """Puts a variant into effect for the length of a block: the test bed, or a stand-in for it."""

    def __call__(self, variant: Variant) -> AbstractContextManager[Measure]:
        """A context in which runs of the variant can be measured."""


def on(bed: Bed) -> Ready:
    """Runs on a test bed."""

    @contextmanager
    def ready(variant: Variant) -> Iterator[Measure]:
        with bed.in_effect(variant) as effect:
            yield partial(measured, bed, variant, effect)

    return ready


def run(bed: Bed, variant: Variant, load: Load, place: Place | None = None) -> Sample:
    """Measure one variant once.

    Raises:
        BadInput: the variant or the traffic does not exist or does not fit.
        OversprayError: the kernel refused something.
    """
    with on(bed)(variant) as measure_once:
        return measure_once(load, place or Place())


def measured(bed: Bed, variant: Variant, effect: Effect, load: Load, place: Place) -> Sample:
    """One measurement of a variant that is in effect already."""
    bed.beside.start(bed.collectors(variant.case).observer)
    shot = Shot(bed, variant, load.traffic, load.sink)
    if load.warmup:
        shot.warm_up(load.warmup)
    effect.restart()
    started = time.time()
    with bed.watching_order(effect, load.traffic) as ordered:
        fired = shot.fire(load.seconds)
        after_gro = ordered()
    totals, cost = effect.counted(), fired.cost
    longer = cost.seconds / fired.seconds
    cores = {core: _scaled(shares, longer) for core, shares in cost.cores.items()}
    wire_share = min(1.0, cost.wire_share * longer)
    drops = _drops(variant, load, totals, fired)
    offered = fired.offered.sent
    if load.traffic.protocol == "iperf3" and not offered:
        # A real sender counts what its socket took: sent is what arrived, and what did not.
        offered = fired.received.delivered + sum(sum(names.values()) for names in drops.values())
    return Sample(
        point=place.point,
        round=place.round,
        position=place.position,
        variant=str(variant),
        seed=load.traffic.seed,
        started=started,
        seconds=fired.seconds,
        asked=load.traffic.rate,
        settings=effect.settings,
        offered=offered,
        delivered=fired.received.delivered,
        delivered_bytes=fired.received.bytes or fired.received.delivered * load.traffic.payload,
        drops=drops,
        order=order_of(shot.sink.arrivals(), shot.window),
        latency=latency_of(shot.sink.latency()),
        cores=cores,
        per_packet=cost.per_packet(fired.received.delivered),
        gathered=_gathered(totals) | cost.gathered | tcp_facts.gathered(fired.received.seen),
        tcp=tcp_facts.facts(
            fired.offered.counts, after_gro, fired.received.seen, totals.back, cost.tcp
        ),
        flows=fairness.of(shot.sink.by_flow(), load.traffic, fired.seconds),
        neighbour=bed.beside.told(),
        wire_share=wire_share,
        invalid=[
            *_not_in_effect(effect, totals),
            *_wire_limited(fired, load.traffic, wire_share),
            *tcp_facts.broken(fired.offered, fired.received, load.traffic),
        ],
    )


def failed(variant: Variant, load: Load, place: Place, reason: str) -> Sample:
    """The sample of a run that came to nothing: never usable, but on record."""
    return Sample(
        point=place.point,
        round=place.round,
        position=place.position,
        variant=str(variant),
        seed=load.traffic.seed,
        started=time.time(),
        seconds=load.seconds,
        asked=load.traffic.rate,
        offered=0,
        delivered=0,
        delivered_bytes=0,
        wire_share=0.0,
        invalid=[reason],
    )


def order_of(arrivals: NDArray[np.void], window: Window) -> dict[str, float]:
    """Order over all sampled windows of all flows: fields of OrderSummary; none of no packets.

    Each window is a stretch of neighbours of its own: what a packet from outside a window did is
    not known there.
    """
    if not len(arrivals):
        return {}
    window_number = arrivals["sequence"] // window.period if window.period > 1 else 0
    stretch = arrivals["flow"].astype(np.int64) << 32 | window_number
    by_stretch = np.argsort(stretch, kind="stable")
    edges = np.flatnonzero(np.diff(stretch[by_stretch])) + 1
    total: Order | None = None
    for part in np.split(by_stretch, edges):
        order = measure(arrivals["sequence"][part])
        total = order if total is None else total + order
    assert total is not None
    return {name: float(value) for name, value in asdict(total.summary()).items()}


def latency_of(counts: NDArray[np.uint64]) -> dict[str, float]:
    """Percentiles in ns of a latency histogram; none of no packets."""
    shares = {"p50": 50.0, "p99": 99.0, "p99.9": 99.9}
    found = {name: histogram.percentile(counts, share) for name, share in shares.items()}
    return {name: value for name, value in found.items() if value is not None}


def _scaled(shares: Mapping[str, float], longer: float) -> dict[str, float]:
    """Shares of the measured time, from those of the time between two readings."""
    return {kind: share * longer for kind, share in shares.items()}


def _drops(variant: Variant, load: Load, totals: Totals, fired: Fired) -> Drops:
    """Every loss by stage and name: the datapath's own, and what the kernel counted."""
    drops = {stage: dict(names) for stage, names in fired.cost.drops.items()}
    own = {
        "steer": totals.steer,
        "deliver": totals.deliver,
        "worker": {"drop_queue_full": totals.lost},
    }
    for stage, counts in own.items():
        for name, count in counts.items():
            if name.startswith("drop") and count:
                drops.setdefault(stage, {})[name.removeprefix("drop_")] = count
    missing = fired.offered.sent - fired.received.delivered
    if load.traffic.kind.name == "iperf3" and load.traffic.details["udp"]:
        # Queues count fragments, applications datagrams: only their number is known.
        return {"udp": {"datagrams": missing}} if missing > 0 else {}
    if load.traffic.protocol == "iperf3":
        tcp_facts.count_again(drops, fired.offered.counts["resent"])
    elif load.traffic.protocol == "tcp":
        tcp_facts.count_again(drops, missing)
    elif any(part.name in _GATHERING for part in variant.coalescing):
        _count_gathered(drops, missing)
    return drops


def _count_gathered(drops: Drops, missing: int) -> None:
    """Make packets of what a queue behind GRO refused.

    The kernel counts a packet that GRO put together as one, though up to 64 are lost with it. Where
    just one queue behind GRO lost any, those that are missing were lost there.
    """
    known = sum(sum(names.values()) for names in drops.values())
    behind = [(stage, name) for stage in _BEHIND_GRO for name in drops.get(stage, {})]
    if len(behind) != 1 or missing <= known:
        return
    stage, name = behind[0]
    counted = drops[stage][name]
    if missing - known <= counted * (_GRO_MOST - 1):
        drops[stage][name] = counted + missing - known


def _gathered(totals: Totals) -> dict[str, float]:
    """Segments to an skb that the delivery ``peer`` handed on."""
    merged = totals.peer["delivered"]
    return {"skb": totals.peer["segments"] / merged} if merged else {}


def _not_in_effect(effect: Effect, totals: Totals) -> Iterator[str]:
    """Whether what was set up was still so at the end."""
    for name, now in effect.read_back().items():
        if (before := effect.settings.get(name)) != now:
            yield f"setting changed while it ran: {name} was {before}, is {now}"
    seen, fast = totals.steer["seen"], totals.steer["local"] + totals.steer["remote"]
    if effect.datapath and fast < seen * _FAST_ENOUGH:
        yield f"{1 - fast / seen:.0%} of the packets took the stock path"
    elif effect.datapath and not seen:
        yield "no packet reached the NIC stage"


def _wire_limited(fired: Fired, traffic: Traffic, share: float) -> Iterator[str]:
    if traffic.protocol != "udp":
        return  # the receiver's window says how much is offered
    asked = traffic.rate
    met = asked is not None and fired.offered.sent >= 0.99 * asked * fired.seconds
    if share > _WIRE_LIMIT and not met:
        yield f"the wire is the limit: it used {share:.0%} of its core"
