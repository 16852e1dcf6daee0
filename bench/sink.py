"""The sinks: a UDP socket in each container, whose filter counts every packet.

`count` drops it there. That is the kernel path's ceiling: all that an application would be woken for, and no
application. With `read` an application takes it (`bench.reader`). Order and latency are those of samples:
whole windows of neighbours, for what overtakes whom only neighbours tell.
"""

import socket
import struct
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.frame import FIRST_PORT, SINK_PORT
from bench.histogram import BUCKETS, count
from bench.lab import Lab
from bench.reader import Reader, Reads
from prototype.order import Order, measure
from steering import cores, netns
from steering.bpf import Kind
from steering.closing import Closing
from steering.compile import Module
from steering.layout import header

_SO_ATTACH_BPF = 50
_LAYOUT = header("sink.h")
_LOG = _LAYOUT.constants["SINK_LOG"]
ARRIVAL = _LAYOUT.struct("arrival")


@dataclass(frozen=True)
class Window:
    """The first ``length`` of every ``period`` (a power of two) packets of a flow are sampled."""

    length: int
    period: int


EVERY = Window(1, 1)
"""All packets: for exact counts of few."""
SHARE = Window(1024, 65536)
"""1.6 %: a sample costs the clock, 20 to 40 ns, and a line of the log."""


class Sink(Closing):
    """The sinks of one lab, as one. A context manager.

    ``reads``: how each is read; None: none is. ``connected``: they receive from the wire's first flow alone,
    as RFS wants it to know that flow's reader.
    """

    def __init__(
        self, lab: Lab, window: Window = EVERY, reads: Reads | None = None, connected: bool = False
    ) -> None:
        self._window, self.reads = window, reads
        self.readers: list[Reader] = []
        with ExitStack() as stack:
            self._module = stack.enter_context(Module("sink.bpf.c", defines={"CORES": cores.possible()}))
            program = self._module.load("sink", Kind.SOCKET_FILTER)
            self._log = self._module.map("sink_log").mapped(ARRIVAL)
            self.begin(1)
            family = socket.AF_INET6 if lab.plan.inner == 6 else socket.AF_INET
            for name, address in lab.sinks:
                with netns.entered(name):
                    one = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
                # The filter before bind: a packet in between would be queued and not counted.
                one.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_BPF, struct.pack("=i", program))
                one.bind((address, SINK_PORT))
                if connected:
                    one.connect((lab.plan.sender, FIRST_PORT))
                if reads:
                    self.readers.append(stack.enter_context(Reader(one, reads, self._is_sampled)))
            self._open = stack.pop_all()

    def begin(self, run: int) -> None:
        """Forget all, and count packets of that run from now on."""
        for name in ("sink_counters", "sink_latency", "sink_logged"):
            table = self._module.map(name)
            table.put(0, bytes(table.size * cores.possible()))
        for reader in self.readers:
            reader.forget()
        values = (run, self._window.period - 1, self._window.length, self.reads is not None)
        self._module.map("sink_settings").put(0, struct.pack("=4I", *values))

    def counts(self) -> dict[str, int]:
        """All of enum sink_counter by name, summed over the cores."""
        counted = self._module.counts("sink_counters", "sink_counter")
        return {name: int(values.sum()) for name, values in counted.items()}

    @property
    def arrived(self) -> int:
        """Packets of this run that came to the sockets; not all of them may have had room there."""
        return self.counts()["delivered"]

    @property
    def delivered(self) -> int:
        """Packets of this run that came to their end: read, where somebody reads."""
        for reader in self.readers:
            if reader.error:
                raise reader.error
        return sum(reader.read for reader in self.readers) if self.reads else self.arrived

    @property
    def bytes(self) -> int:
        """UDP payload of them; all have the same length."""
        counts = self.counts()
        return counts["bytes"] * self.delivered // max(1, counts["delivered"])

    @property
    def unlogged(self) -> int:
        """Samples for which a log had no room."""
        if self.reads:
            return sum(reader.unlogged for reader in self.readers)
        return self.counts()["unlogged"]

    def by_core(self) -> dict[int, int]:
        """Packets that arrived on each core; cores without any are left out."""
        counted = self._module.counts("sink_counters", "sink_counter")["delivered"]
        return {core: int(count) for core, count in enumerate(counted) if count}

    def latency(self) -> NDArray[np.uint64]:
        """Histogram (`bench.histogram`) of the samples' ns from the intended send time to the sink, or until
        they were read."""
        if self.reads:
            return sum((count(reader.latencies()) for reader in self.readers), count([]))
        rows = self._module.map("sink_latency").get(np.dtype([("count", "<u4", (BUCKETS,))]))["count"]
        total: NDArray[np.uint64] = rows.sum(axis=0).astype(np.uint64)
        return total

    def arrivals_by_core(self) -> list[NDArray[np.void]]:
        """The samples (dtype ARRIVAL) that each core's filter saw, in its order."""
        logged = self._module.map("sink_logged").get(np.dtype("<u8"))
        return [self._log[core * _LOG :][: int(count)] for core, count in enumerate(logged)]

    def arrivals(self) -> NDArray[np.void]:
        """The samples of all cores in order of arrival. The cores' clocks are one clock."""
        merged = np.concatenate(self.arrivals_by_core())
        return merged[np.argsort(merged["time"], kind="stable")]

    def order(self) -> Order:
        """Order and duplicates over all sampled windows of all flows, as they were read, or came."""
        if self.reads:
            return sum((self._order_of(reader.arrivals()) for reader in self.readers), measure([]))
        return self.order_at_sockets()

    def order_at_sockets(self) -> Order:
        """The same as the sockets' filters saw it, on several cores at once."""
        return self._order_of(self.arrivals())

    def _is_sampled(self, sequence: NDArray[np.uint32]) -> NDArray[np.bool_]:
        return (sequence & (self._window.period - 1)) < self._window.length

    def _order_of(self, found: NDArray[np.void]) -> Order:
        """Each window is a stretch of its own."""
        number = found["sequence"] // self._window.period if self._window.period > 1 else 0
        stretch = found["flow"].astype(np.int64) << 32 | number
        by_stretch = np.argsort(stretch, kind="stable")
        edges = np.flatnonzero(np.diff(stretch[by_stretch])) + 1
        total = measure([])
        for part in np.split(by_stretch, edges):
            total = total + measure(found["sequence"][part])
        return total

    def close(self) -> None:
        """Close the sockets, and let go of what was counted. Closing twice is harmless."""
        self._log = np.zeros(0, ARRIVAL)  # unmaps
        self._open.close()
