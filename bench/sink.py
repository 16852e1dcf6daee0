"""Sink `count`: a UDP socket in each container whose filter counts every packet, and drops it there.

That is the kernel path's ceiling: all that an application would be woken for, and no application. Order and
latency are those of samples: whole windows of neighbours, for what overtakes whom only neighbours tell.
"""

import socket
import struct
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.frame import SINK_PORT
from bench.histogram import BUCKETS
from bench.lab import Lab
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
    """The sinks of one lab, as one. A context manager."""

    def __init__(self, lab: Lab, window: Window = EVERY) -> None:
        self._window, self._run = window, 0
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
            self._open = stack.pop_all()

    def begin(self, run: int) -> None:
        """Forget all, and count packets of that run from now on."""
        for name in ("sink_counters", "sink_latency", "sink_logged"):
            table = self._module.map(name)
            table.put(0, bytes(table.size * cores.possible()))
        values = (run, self._window.period - 1, self._window.length)
        self._module.map("sink_settings").put(0, struct.pack("=3I", *values))

    def counts(self) -> dict[str, int]:
        """All of enum sink_counter by name, summed over the cores."""
        counted = self._module.counts("sink_counters", "sink_counter")
        return {name: int(values.sum()) for name, values in counted.items()}

    @property
    def delivered(self) -> int:
        """Packets of this run that arrived."""
        return self.counts()["delivered"]

    def by_core(self) -> dict[int, int]:
        """Packets that arrived on each core; cores without any are left out."""
        counted = self._module.counts("sink_counters", "sink_counter")["delivered"]
        return {core: int(count) for core, count in enumerate(counted) if count}

    def latency(self) -> NDArray[np.uint64]:
        """Histogram (`bench.histogram`) of the samples' ns from the intended send time to the sink."""
        rows = self._module.map("sink_latency").get(np.dtype([("count", "<u4", (BUCKETS,))]))["count"]
        total: NDArray[np.uint64] = rows.sum(axis=0).astype(np.uint64)
        return total

    def arrivals(self) -> NDArray[np.void]:
        """The samples (dtype ARRIVAL) in order of arrival. The cores' clocks are one clock."""
        logged = self._module.map("sink_logged").get(np.dtype("<u8"))
        parts = [self._log[core * _LOG :][: int(count)] for core, count in enumerate(logged)]
        merged = np.concatenate(parts)
        return merged[np.argsort(merged["time"], kind="stable")]

    def order(self) -> Order:
        """Order and duplicates over all sampled windows of all flows, each a stretch of its own."""
        found = self.arrivals()
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
