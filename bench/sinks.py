"""What receives inside the case, counts, and sees order and latency.

``count`` is a socket filter on an ordinary socket: it counts a datagram where an application would
get it, and drops it, so that the kernel's path is the only cost. ``read`` is an application that
really reads, on a core one chooses; ``@PATH`` is one's own (bench/application.py).
"""

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bench.histogram import BUCKETS
from bench.lab_plan import Endpoint, Lab
from bench.traffic import SINK_PORT, Traffic
from steering import bpf
from steering.closing import Closing
from steering.compile import Module
from steering.errors import unknown
from steering.layout import header
from steering.netns import entered
from steering.policy import Knob, read_knobs
from steering.spec import Spec

ARRIVAL = header("sink.h").struct("arrival")
"""One logged packet: time (ns), sequence, flow."""

_PLACED, ANYWHERE = 0xFFFF, 0xFFFE
_CORE = Knob(
    _PLACED,
    0,
    _PLACED,
    "core",
    "the application's; 65534: any, as the scheduler likes; 65535: as placed",
)

SINKS: Mapping[str, Mapping[str, Mapping[str, Knob]]] = {
    "udp": {
        "count": {},
        "read": {
            "core": _CORE,
            "bulk": Knob(64, 1, 1024, "packets", "datagrams asked for in one recvmmsg"),
            "gro": Knob(0, 0, 1, "0/1", "the socket takes what GRO put together (UDP_GRO)"),
            "busy": Knob(0, 0, 10_000, "us", "a read polls for so long first (SO_BUSY_POLL)"),
        },
    },
    "tcp": {
        "read": {"core": _CORE, "check": Knob(0, 0, 1, "0/1", "look at every byte")},
        "trunc": {"core": _CORE},
    },
    "iperf3": {"server": {"core": _CORE}},
}
"""Sinks and their knobs, by protocol."""

SO_ATTACH_BPF = 50
_CLASSES = header("sink.h").enum("sink_class")["SINK_CLASSES"]
_OTHERS = header("sink.h").enum("sink_class")["SINK_OTHERS"]
_BUFFER = 8 << 20
"""Bytes of a reading socket's receive buffer (SO_RCVBUFFORCE), the same for every variant."""
_LOG_ENTRIES = 1 << 19
"""Arrivals that a core can log: 8 MiB."""


@dataclass(frozen=True)
class Window:
    """Which packets are timed and logged: those with sequence modulo ``period`` below ``length``.

    Whole windows, for order is a matter of neighbours. Both are powers of two.
    """

    period: int
    length: int


EVERYTHING = Window(1, 1)
SOME = Window(1 << 16, 1 << 12)
"""One packet in 16: what is timed costs little of the throughput."""


@dataclass(frozen=True)
class Received:
    """What a sink counted of this run; ``foreign`` packets are of another run, or of nobody's."""

    delivered: int
    bytes: int
    foreign: int
    unlogged: int
    """Sampled packets for which the log had no room."""
    seen: Mapping[str, int] = field(default_factory=dict)
    """What reached TCP, by name (enum tcp_sink_counter), and the application's ``reads``."""


@dataclass(frozen=True)
class ByFlow:
    """What each flow got, where a sink can tell; empty where it can't."""

    delivered: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))
    """Packets by flow; there may be more places than flows."""
    others: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(BUCKETS, np.uint64))
    """Latency of all flows but the first: bench.histogram's buckets."""


class Sink(Protocol):
    """What all sinks do."""

    def configure(self, run: int, window: Window) -> None:
        """Forget everything; count packets of ``run`` from now on."""

    def counts(self) -> Received:
        """What was counted since."""

    def latency(self) -> NDArray[np.uint64]:
        """Histogram of the sampled packets' latency: bench.histogram's buckets."""

    def by_flow(self) -> ByFlow:
        """What was counted, by flow."""

    def arrivals(self) -> NDArray[np.void]:
        """The sampled packets in the order of arrival, dtype ARRIVAL."""

    def close(self) -> None:
        """Let go of sockets and threads."""


class Unseen:
    """The part of a sink that does not see single packets: nothing of their time, flow or order."""

    def latency(self) -> NDArray[np.uint64]:
        """Not seen."""
        return np.zeros(BUCKETS, np.uint64)

    def by_flow(self) -> ByFlow:
        """Not told."""
        return ByFlow()

    def arrivals(self) -> NDArray[np.void]:
        """Not seen."""
        return np.empty(0, ARRIVAL)


@contextlib.contextmanager
def opened(lab: Lab, spec: Spec, core: int, traffic: Traffic | None = None) -> Iterator[Sink]:
    """The sink that a spec names, listening on every endpoint; ``core`` is the application's.

    Raises:
        BadInput: unknown sink or knob, or none for this protocol.
    """
    traffic = traffic or Traffic()
    knobs = check(spec, traffic.protocol)
    core = knobs["core"] if knobs.get("core", _PLACED) != _PLACED else core
    if traffic.protocol == "iperf3":
        from bench.iperf import IperfServer

        sink: Sink = IperfServer(lab, traffic, core)
    elif traffic.protocol == "tcp":
        from bench.streams import StreamSink

        copy = spec.name == "read"
        sink = StreamSink(lab, traffic, core, copy, bool(knobs.get("check")))
    elif spec.path is not None:
        from bench.application import ApplicationSink

        sink = ApplicationSink(lab, Path(spec.path).expanduser(), core)
    elif spec.name == "count":
        sink = CountSink(lab, traffic.flows)
    else:
        from bench.reader import ReadSink

        sockets = endpoint_sockets(lab)
        sink = ReadSink(sockets, core, knobs["bulk"], bool(knobs["gro"]), knobs["busy"])
    try:
        yield sink
    finally:
        sink.close()


def check(spec: Spec, protocol: str = "udp") -> dict[str, int]:
    """The knobs' values; BadInput for a sink or knob that does not exist. Opens nothing."""
    known = SINKS[protocol]
    own = ["@PATH"] if protocol == "udp" else []
    if (spec.path is None or not own) and spec.name not in known:
        raise unknown(f"sink of {protocol}", spec.name, [*known, *own])
    return read_knobs(f"sink '{spec.name}'", known.get(spec.name, {}), spec.args)


def endpoint_sockets(lab: Lab) -> list[socket.socket]:
    """One bound UDP socket for each endpoint, in its namespace."""
    return [endpoint_socket(end) for end in lab.endpoints]


def endpoint_socket(end: Endpoint) -> socket.socket:
    """A bound UDP socket of one endpoint."""
    family = socket.AF_INET6 if ":" in end.ip else socket.AF_INET
    with entered(end.netns):
        one = socket.socket(family, socket.SOCK_DGRAM)
    one.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_RCVBUFFORCE", 33), _BUFFER)
    one.bind((end.ip, SINK_PORT))
    return one


class CountSink(Closing):
    """The socket filter (xdp/sink.bpf.c)."""

    def __init__(self, lab: Lab, flows: int = 1) -> None:
        self._cores = bpf.possible_cpus()
        self._flows = flows
        self._module = Module(
            "sink.bpf.c", defines={"SINK_LOG_ENTRIES": _LOG_ENTRIES * self._cores}
        )
        self._ends = lab.endpoints
        self._program = self._module.load("sink", bpf.PROG_TYPE_SOCKET_FILTER)
        self._log = bpf.map_memory(self._module.fd("sink_log"), ARRIVAL, _LOG_ENTRIES * self._cores)
        self._sockets: dict[int, socket.socket] = {}
        for number in range(len(lab.endpoints)):
            self.listen(number)

    def listen(self, number: int) -> None:
        """Receive at an endpoint; at the start at all of them."""
        one = self._sockets[number] = endpoint_socket(self._ends[number])
        one.setsockopt(socket.SOL_SOCKET, SO_ATTACH_BPF, self._program)

    def deafen(self, number: int) -> None:
        """Receive there no more, and let go of its namespace."""
        self._sockets.pop(number).close()

    def configure(self, run: int, window: Window) -> None:
        """See :class:`Sink`."""
        settings = np.zeros((), header("sink.h").struct("sink_settings"))
        settings["run"], settings["log_entries"] = run, _LOG_ENTRIES
        settings["sample_mask"], settings["sample_below"] = window.period - 1, window.length
        self._module.put("sink_settings", 0, settings)
        counters = len(self._module.total("sink_counters", "sink_counter"))
        for table, size in (
            ("sink_counters", counters * 8),
            ("sink_used", 8),
        ):
            self._module.put(table, 0, bytes(size * self._cores))
        for place in range(_CLASSES):
            self._module.put("sink_latency", place, bytes(BUCKETS * 4 * self._cores))
        for flow in range(self._flows):
            self._module.put("sink_flows", flow, bytes(8 * self._cores))

    def counts(self) -> Received:
        """See :class:`Sink`."""
        total = self._module.total("sink_counters", "sink_counter")
        return Received(total["delivered"], total["bytes"], total["foreign"], total["unlogged"])

    def by_core(self) -> NDArray[np.uint64]:
        """Packets delivered on each core: shape (possible cores,)."""
        column: NDArray[np.uint64] = self._module.counts("sink_counters", "sink_counter")[:, 0]
        return column

    def latency(self) -> NDArray[np.uint64]:
        """See :class:`Sink`."""
        total: NDArray[np.uint64] = np.sum([self._latency(n) for n in range(_CLASSES)], axis=0)
        return total

    def by_flow(self) -> ByFlow:
        """See :class:`Sink`."""
        table = self._module.fd("sink_flows")
        counts = [
            bpf.map_lookup(table, struct.pack("=I", flow), np.dtype("<u8"), per_core=True).sum()
            for flow in range(self._flows)
        ]
        return ByFlow(np.array(counts, np.uint64), self._latency(_OTHERS))

    def _latency(self, place: int) -> NDArray[np.uint64]:
        dtype = np.dtype([("count", "<u4", (BUCKETS,))])
        table = self._module.fd("sink_latency")
        rows = bpf.map_lookup(table, struct.pack("=I", place), dtype, per_core=True)["count"]
        counts: NDArray[np.uint64] = rows.sum(axis=0).astype(np.uint64)
        return counts

    def arrivals(self) -> NDArray[np.void]:
        """See :class:`Sink`. The cores' clocks are one clock, so time gives the order."""
        used = bpf.map_lookup(
            self._module.fd("sink_used"), struct.pack("=I", 0), np.dtype("<u8"), per_core=True
        )
        parts = [
            self._log[core * _LOG_ENTRIES : core * _LOG_ENTRIES + int(entries)]
            for core, entries in enumerate(np.asarray(used).astype(int))
        ]
        merged = np.concatenate(parts)
        return merged[np.argsort(merged["time"], kind="stable")]

    def close(self) -> None:
        """See :class:`Sink`."""
        for one in self._sockets.values():
            one.close()
        self._log = np.empty(0, ARRIVAL)  # unmaps
        self._module.close()


def allowed(core: int) -> set[int]:
    """The cores that an application on ``core`` may use."""
    return os.sched_getaffinity(0) if core == ANYWHERE else {core}


def pinned(core: int, name: str, run: Any) -> threading.Thread:
    """A started thread of ``run`` on one core (or ANYWHERE)."""

    def body() -> None:
        os.sched_setaffinity(0, allowed(core))
        run()

    thread = threading.Thread(target=body, name=name)
    thread.start()
    return thread
