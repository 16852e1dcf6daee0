"""One run: a variant in effect, the wire running, and what came of it."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from bench import histogram, losses
from bench.bed import Bed, Effect
from bench.observer import cost
from bench.traffic import Traffic
from bench.variant import Variant
from steering.errors import OversprayError
from steering.unit import Totals
from steering.waiting import wait_for

_FEWEST = 1000
"""Packets that a run waits for, however slow the machine is: a rate of fewer says nothing."""
WIRE_LIMIT = 0.5
"""Share of its core from which the wire, and not the receiver, is what limits."""
_SETTLE_S = 10.0


@dataclass(frozen=True)
class Sample:
    """What one run measured; counts are of the whole run, warm-up included, rates of the part after it."""

    variant: str
    round: int
    seconds: float
    offered: int
    delivered: int
    bytes: int
    """UDP payload delivered."""
    rate: float
    """Packets a second that reached the sink."""
    offered_rate: float
    drops: dict[str, dict[str, int]]
    """By stage and name: ours exactly, stock's as the kernel counts them."""
    order: dict[str, float]
    latency: dict[str, float]
    """ns from the intended send time."""
    cores: dict[str, dict[str, float]]
    """Shares of each core's time by kind."""
    per_packet: dict[str, float]
    """Events a delivered packet."""
    wire_share: float
    limited: bool
    """The wire was the limit."""
    settings: dict[str, str]
    invalid: list[str] = field(default_factory=list)
    trials: list[dict[str, float]] = field(default_factory=list)
    """Of a search for this load (`bench.search`): what was offered and delivered a second, the share lost."""

    @property
    def loss(self) -> float:
        """Share of the offered packets that did not arrive."""
        return 1 - self.delivered / self.offered if self.offered else 0.0

    @classmethod
    def read(cls, saved: Mapping[str, Any]) -> Self:
        """Of a saved run, whose batch and point are left out; TypeError where a field is missing."""
        names = [field.name for field in fields(cls)]
        return cls(**{name: saved[name] for name in names if name in saved})

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def run(bed: Bed, variant: Variant, seconds: float, warm_up: float, number: int) -> Sample:
    """Put the variant into effect, and measure it once; ``number`` is the round's.

    Raises OversprayError where the kernel refuses, or no packet arrives.
    """
    with bed.in_effect(variant) as effect:
        return measured(bed, variant, effect, seconds, warm_up, number)


def measured(
    bed: Bed,
    variant: Variant,
    effect: Effect,
    seconds: float,
    warm_up: float,
    number: int,
    sent: Traffic | None = None,
) -> Sample:
    """One run of a variant that is in effect; ``sent`` in place of the bed's traffic, of the same payload.
    Raises as :func:`run`.
    """
    wire, sink, lost = effect.case.wire, effect.case.sink, effect.case.losses
    mark = wire.traffic.run % 0xFFFFFFFF + 1
    wire.begin(mark, effect.cores_of_flows, sent or bed.traffic)
    sink.begin(mark)
    seen, wired, counted, ours = effect.seen(), wire.counts(), lost.read(), _ours(effect)
    readers = sink.threads
    with wire.running() as threads:
        for thread in threads:
            bed.observer.watch(thread)
        for thread in readers:
            bed.observer.watch(thread, "reader")
        time.sleep(warm_up)
        first, before, begun = bed.observer.read(), (wire.sent, sink.delivered), time.monotonic()
        time.sleep(seconds)
        wait_for(lambda: sink.delivered - before[1] >= _FEWEST or wire.error, f"{_FEWEST} packets to arrive")
        after, ended = (wire.sent, sink.delivered), time.monotonic()
        last = bed.observer.read()
        for thread in (*threads, *readers):
            bed.observer.forget(thread)
    offered = wire.sent - wired["sent"]
    invalid = [
        *_unsettled(effect, seen, wired, ours, counted, offered),
        *_unread(effect, counted),
        *bed.unwanted(variant),
    ]
    span, used = ended - begun, cost(first, last)
    drops = _drops(effect, wired, ours, losses.by_stage(counted, lost.read()))
    share = used.wire_share
    order = sink.order()
    return Sample(
        variant=str(variant),
        round=number,
        seconds=span,
        offered=offered,
        delivered=sink.delivered,
        bytes=sink.bytes,
        rate=(after[1] - before[1]) / span,
        offered_rate=(after[0] - before[0]) / span,
        drops=drops,
        order={
            "reordered": order.ratio,
            "extent_p99": float(order.extent_p99),
            "duplicates": float(order.duplicates),
            "sampled": float(order.received),
            "unlogged": float(sink.unlogged),
            **({"reordered_at_socket": sink.order_at_sockets().ratio} if sink.reads else {}),
        },
        latency=_latency(effect),
        cores={str(core): kinds for core, kinds in used.cores.items()},
        per_packet=used.per_packet(after[1] - before[1]),
        wire_share=share,
        limited=share > WIRE_LIMIT
        and not (_met(wire.traffic, after[0] - before[0], span) or _overran(drops, offered)),
        settings=effect.settings,
        invalid=invalid,
    )


def _met(traffic: Traffic, offered: int, span: float) -> bool:
    """Whether the wire kept to the rate that was asked for: then it was no limit."""
    rate = traffic.rate
    return rate is not None and offered >= 0.99 * rate * span


def _overran(drops: Mapping[str, Mapping[str, int]], offered: int) -> bool:
    """Whether the NIC's ring was full: a receiver on another core (threads) was slower than the wire."""
    return drops.get("wire", {}).get("drop_ring", 0) > offered // 100


def _ours(effect: Effect) -> Totals | None:
    """What our datapath has counted, where there is one: one that is attached sees more than one run."""
    return effect.datapath.totals() if effect.datapath else None


def _unsettled(
    effect: Effect,
    seen: int,
    wired: dict[str, int],
    before: Totals | None,
    counted: Mapping[str, int],
    offered: int,
) -> Iterator[str]:
    """Wait until every packet's fate is known; why it is not, where it is not."""
    wire, sink = effect.case.wire, effect.case.sink

    def at_the_nic() -> int:
        ring = wire.counts()["drop_ring"] - wired["drop_ring"]
        return effect.seen() - seen + ring

    def fate() -> int:
        """Of a stock path only that its queues are empty can be known, and so of one behind our own that has
        lost something: how many packets GRO made one of, a backlog does not count."""
        now = _ours(effect)
        if before is None or now is None:
            return offered if not losses.waiting() else -1
        ours = sum(sum(names.values()) for names in (now - before).drops.values())
        known = sink.arrived + ours + wire.counts()["drop_ring"] - wired["drop_ring"]
        if known < offered and now.waiting == 0 and _overflowed(effect, counted) and not losses.waiting():
            return offered
        return known

    try:
        wait_for(lambda: at_the_nic() == offered, "the NIC", _SETTLE_S)
    except OversprayError:
        yield f"of {offered} frames sent the NIC has {at_the_nic()}"
    try:
        wait_for(lambda: fate() == offered, "every packet", _SETTLE_S)
    except OversprayError:
        yield f"of {offered} packets {fate()} are accounted for"
    if before and (now := _ours(effect)) and (passed := (now - before).passed) > offered // 100:
        yield f"{passed} of {offered} packets took the stock path"


def _overflowed(effect: Effect, before: Mapping[str, int]) -> bool:
    """Whether a backlog behind our delivery was full."""
    handed_on = effect.datapath is not None and bool(effect.datapath.plan.stack)
    return handed_on and "backlog" in losses.by_stage(before, effect.case.losses.read())


def _unread(effect: Effect, before: Mapping[str, int]) -> Iterator[str]:
    """Where somebody reads, wait until what came has been read, or found no room; why it was not."""
    sink, lost = effect.case.sink, effect.case.losses
    if not sink.reads:
        return

    def full() -> int:
        return losses.by_stage(before, lost.read()).get("udp", {}).get("socket_full", 0)

    try:
        wait_for(lambda: sink.delivered + full() == sink.arrived, "the reader", _SETTLE_S)
    except OversprayError:
        yield f"of {sink.arrived} packets {sink.delivered} were read, and {full()} found the socket full"


def _drops(
    effect: Effect, wired: dict[str, int], before: Totals | None, stock: dict[str, dict[str, int]]
) -> dict[str, dict[str, int]]:
    """By stage and name. What the sink's filter drops after counting, the kernel calls an error."""
    drops = {stage: dict(names) for stage, names in stock.items()}
    drops.get("udp", {}).pop("error", None)
    if ring := effect.case.wire.counts()["drop_ring"] - wired["drop_ring"]:
        drops["wire"] = {"drop_ring": ring}
    if before and (now := _ours(effect)):
        drops |= (now - before).drops
    return {stage: names for stage, names in drops.items() if names}


def _latency(effect: Effect) -> dict[str, float]:
    counts = effect.case.sink.latency()
    shares = {"p50": 50.0, "p99": 99.0, "p99.9": 99.9}
    found = {name: histogram.percentile(counts, share) for name, share in shares.items()}
    return {name: value for name, value in found.items() if value is not None}
