"""Traffic for some time, and the wait until its last packet has arrived or is lost."""

import secrets
import time
from dataclasses import dataclass

from bench.bed import Bed
from bench.collectors import Cost
from bench.rss import owners
from bench.sinks import EVERYTHING, SOME, Received, Sink
from bench.traffic import Traffic, frames
from bench.variant import Variant
from bench.wire import Offered, Wire
from steering.spec import Spec
from steering.stock import STEERING

_LOOK = 0.001
_STILL = 0.02
"""Seconds without a packet after which none is on its way: longer than any queue holds one."""
_STILL_AT_MOST = 2.0
_LIGHT = 150_000
"""Packets a second up to which all are timed: they fit the log, and cost nothing that matters."""


@dataclass(frozen=True)
class Fired:
    """What came of it. ``seconds``: from the first packet to the last, sent or arrived."""

    offered: Offered
    received: Received
    seconds: float
    cost: Cost


class Shot:
    """Fires a variant's traffic at its sink, as often as wanted."""

    def __init__(self, bed: Bed, variant: Variant, traffic: Traffic, sink: Spec) -> None:
        self.wire: Wire = bed.wire(variant.case, traffic.protocol)
        self.sink: Sink = bed.sink(variant.case, sink, traffic)
        self.collectors = bed.collectors(variant.case)
        self.traffic = traffic
        light = traffic.rate is not None and traffic.rate <= _LIGHT
        self.window = EVERYTHING if light else SOME
        self.cores, self.owner = _queues(bed, variant, traffic)

    def warm_up(self, seconds: float) -> None:
        """Fire, and forget what came of it."""
        self._prepare()
        self._send(seconds)
        self.wire.finish()

    def fire(self, seconds: float) -> Fired:
        """Send for that long, and count everything until the last packet is accounted for."""
        self._prepare()
        before = self.collectors.snapshot()
        offered, took = self._send(seconds)
        cost = self.collectors.difference(before, self.collectors.snapshot(), self.wire.spun())
        received = self.sink.counts()
        self.wire.finish()
        return Fired(offered, received, took, cost)

    def _prepare(self) -> None:
        number = secrets.randbits(31) | 1
        self.sink.configure(number, self.window)
        self.wire.configure(self.traffic, number, self.cores, self.owner)

    def _send(self, seconds: float) -> tuple[Offered, float]:
        observer = self.collectors.observer
        begin = time.monotonic()
        self.wire.start(seconds)
        try:
            observer.watch(self.wire.threads, "wire")
            observer.watch(getattr(self.sink, "threads", ()), "application")
            time.sleep(seconds)
        finally:
            offered = self.wire.stop()
        took = max(time.monotonic(), self._settled()) - begin
        return offered, offered.took or took

    def _settled(self) -> float:
        """Wait until the sink's count stands still; since when it does (monotonic, s)."""
        began = since = time.monotonic()
        count = -1
        while (now := time.monotonic()) < min(since + _STILL, began + _STILL_AT_MOST):
            latest = self.sink.counts().delivered
            if latest != count:
                since, count = (now if count >= 0 else since), latest
            time.sleep(_LOOK)
        return since


def _queues(bed: Bed, variant: Variant, traffic: Traffic) -> tuple[list[int], list[int] | None]:
    """Cores of the wire's threads, and which of them sends each flow: RSS, or the NIC's core."""
    nic = bed.placement.nic
    if variant.steering.name != "rss":
        return [nic], None
    fields = STEERING["rss"].values(variant.steering.args)["tuple"]
    cores = [nic, *(core for core in bed.placement.workers if core != nic)]
    made = frames(bed.lab(variant.case), traffic, 0)
    return cores, owners([(one.addresses, one.ports) for one in made], fields, len(cores))
