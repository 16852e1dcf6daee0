"""Sinks of TCP: applications that read streams, on a core one chooses.

``read`` copies, as nearly every application does; ``trunc`` lets the kernel throw the bytes away
(MSG_TRUNC), so that copying is no part of the cost; both in loops compiled by numba, without
Python's lock. A socket filter (xdp/sink_tcp.bpf.c) sees the segments as they reach TCP.
"""

import contextlib
import socket
import struct
import threading

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from bench.histogram import BUCKETS
from bench.lab_plan import Lab
from bench.reading import bucket, let_wake, now, number
from bench.sinks import ARRIVAL, SO_ATTACH_BPF, ByFlow, Received, Window, pinned
from bench.traffic import SINK_PORT, TCP_STAMP_BYTES, Traffic, filler, port_of
from steering import bpf
from steering.compile import Module
from steering.layout import header
from steering.netns import entered

BUFFER = 4 << 20
"""Bytes of a connection's receive buffer (SO_RCVBUFFORCE), the same for every variant."""
_CHUNK = 1 << 18
"""Bytes asked for in one recv()."""
_LOG_ENTRIES = 1 << 17
_MSG_TRUNC = 0x20
# Places in the array that the loop and its owner share.
_BYTES, _WRONG, _ENDED, _STOP, _SEGMENT, _CHECK, _CALLS, _PLACES = range(8)

_recv = types.ExternalFunction(
    "recv", types.int64(types.int32, types.uintp, types.uint64, types.int32)
)

U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _wrong(data: U8, got: int, place: int, segment: int, fill: U8) -> int:
    """Bytes that are not what the wire sent; ``place`` of the first in the stream."""
    wrong = 0
    within = place % segment
    start = place - within
    for i in range(got):
        if within >= 16:
            wrong += data[i] != fill[within]
        elif within < 8:
            wrong += data[i] != ((start >> (8 * within)) & 0xFF)
        within += 1
        if within == segment:
            within = 0
            start += segment
    return wrong


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _read(
    fd: int,
    data: U8,
    data_at: int,
    flags: int,
    fill: U8,
    clock: I64,
    clock_at: int,
    shared: I64,
    latency: I64,
) -> None:
    """Read until the stream ends; addresses go beside their arrays, for libc takes numbers."""
    while shared[_STOP] == 0:
        got = _recv(fd, data_at, data.size, flags)
        if got == 0:
            break
        if got < 0:
            continue  # the receive timeout: look whether to stop
        shared[_CALLS] += 1
        place, segment = shared[_BYTES], shared[_SEGMENT]
        if flags == 0 and segment >= 16:
            # The first whole stamp of the chunk stands for all of it.
            at = (segment - place % segment) % segment
            if at + 16 <= got:
                latency[bucket(max(0, now(clock, clock_at) - number(data, at + 8, 8)))] += 1
            if shared[_CHECK]:
                shared[_WRONG] += _wrong(data, got, place, segment, fill)
        shared[_BYTES] = place + got
    shared[_ENDED] = 1


class _Stream:
    """One accepted connection and the thread that reads it."""

    def __init__(self, one: socket.socket, core: int, settings: I64, copy: bool, fill: U8) -> None:
        self.socket = one
        self.flow = one.getpeername()[1] - port_of(0)
        one.setblocking(True)  # before the timeout, which it would take away
        let_wake(one)
        self.shared = settings.copy()
        self.latency = np.zeros(BUCKETS, np.int64)
        self._data = np.zeros(_CHUNK, np.uint8)
        self._clock = np.zeros(2, np.int64)
        self._flags = 0 if copy else _MSG_TRUNC
        self._fill = fill
        self.tid = 0
        self._started = threading.Event()
        self.thread = pinned(core, "stream", self._run)
        self._started.wait()

    def _run(self) -> None:
        self.tid = threading.get_native_id()
        self._started.set()
        _read(
            self.socket.fileno(),
            self._data,
            self._data.ctypes.data,
            self._flags,
            self._fill,
            self._clock,
            self._clock.ctypes.data,
            self.shared,
            self.latency,
        )
        self.socket.close()

    def stop(self) -> None:
        self.shared[_STOP] = 1
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join()


class StreamSink:
    """Listens on every endpoint; see :class:`bench.sinks.Sink`.

    ``delivered`` counts whole segments' worth of bytes that the application has read.
    """

    def __init__(self, lab: Lab, traffic: Traffic, core: int, copy: bool, check: bool) -> None:
        self._core, self._copy, self._segment = core, copy, traffic.payload
        self._cores = bpf.possible_cpus()
        self._settings = np.zeros(_PLACES, np.int64)
        self._settings[[_SEGMENT, _CHECK]] = traffic.payload, check
        self._fill = np.frombuffer(filler(traffic.payload), np.uint8)
        most = header("wire_tcp.h").constants["TCP_WIRE_MAX_FLOWS"]
        entries = _LOG_ENTRIES * self._cores
        self._module = Module(
            "sink_tcp.bpf.c", defines={"SINK_LOG_ENTRIES": entries, "TCP_SINK_FLOWS": most}
        )
        program = self._module.load("sink_tcp", bpf.PROG_TYPE_SOCKET_FILTER)
        self._log = bpf.map_memory(self._module.fd("sink_log"), ARRIVAL, entries)
        self._streams: list[_Stream] = []
        self._closing = threading.Event()
        self._listeners = [_listener(end.netns, end.ip, program) for end in lab.endpoints]
        self._accepting = [
            threading.Thread(target=self._accept, args=(one,), name="accept")
            for one in self._listeners
        ]
        for thread in self._accepting:
            thread.start()

    @property
    def threads(self) -> list[int]:
        """Kernel thread ids of the application."""
        return [stream.tid for stream in self._streams]

    def configure(self, run: int, window: Window) -> None:
        """See :class:`bench.sinks.Sink`: connections of before are of no interest any more."""
        for stream in self._streams:
            stream.stop()
        self._streams = []
        layout = header("sink.h").struct("tcp_sink_settings")
        settings = np.zeros((), layout)
        settings["segment"], settings["port"] = self._segment, port_of(0)
        settings["flows"] = header("wire_tcp.h").constants["TCP_WIRE_MAX_FLOWS"]
        settings["sample_mask"], settings["sample_below"] = window.period - 1, window.length
        settings["log_entries"] = _LOG_ENTRIES
        self._module.put("tcp_sink_settings", 0, settings)
        counters = len(self._module.total("tcp_sink_counters", "tcp_sink_counter"))
        self._module.put("tcp_sink_counters", 0, bytes(counters * 8 * self._cores))
        self._module.put("sink_used", 0, bytes(8 * self._cores))

    def counts(self) -> Received:
        """See :class:`bench.sinks.Sink`; ``foreign``: bytes that are not what was sent."""
        total = np.sum([stream.shared for stream in self._streams] or [self._settings * 0], axis=0)
        seen = self._module.total("tcp_sink_counters", "tcp_sink_counter")
        read = int(total[_BYTES])
        wrong, unlogged = int(total[_WRONG]), seen.pop("unlogged")
        seen["reads"] = int(total[_CALLS])
        return Received(read // self._segment, read, wrong, unlogged, seen)

    def latency(self) -> NDArray[np.uint64]:
        """See :class:`bench.sinks.Sink`: when the application has it; none without copying."""
        parts = [stream.latency for stream in self._streams] or [np.zeros(BUCKETS, np.int64)]
        counts: NDArray[np.uint64] = np.sum(parts, axis=0).astype(np.uint64)
        return counts

    def by_flow(self) -> ByFlow:
        """See :class:`bench.sinks.Sink`."""
        delivered = np.zeros(max((s.flow for s in self._streams), default=-1) + 1, np.uint64)
        others = np.zeros(BUCKETS, np.uint64)
        for stream in self._streams:
            delivered[stream.flow] = int(stream.shared[_BYTES]) // self._segment
            if stream.flow:
                others += stream.latency.astype(np.uint64)
        return ByFlow(delivered, others)

    def arrivals(self) -> NDArray[np.void]:
        """The sampled segments in the order in which they reached TCP."""
        used = bpf.map_lookup(
            self._module.fd("sink_used"), struct.pack("=I", 0), np.dtype("<u8"), per_core=True
        )
        parts = [
            self._log[core * _LOG_ENTRIES : core * _LOG_ENTRIES + int(entries)]
            for core, entries in enumerate(np.asarray(used).astype(int))
        ]
        merged = np.concatenate(parts)
        return segments(merged[np.argsort(merged["time"], kind="stable")])

    def close(self) -> None:
        """See :class:`bench.sinks.Sink`."""
        self._closing.set()
        for one in self._listeners:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._accepting:
            thread.join()
        for one in self._listeners:
            one.close()
        for stream in self._streams:
            stream.stop()
        self._log = np.empty(0, ARRIVAL)  # unmaps
        self._module.close()

    def _accept(self, listener: socket.socket) -> None:
        while not self._closing.is_set():
            try:
                one, _ = listener.accept()
            except OSError:
                continue
            stream = _Stream(one, self._core, self._settings, self._copy, self._fill)
            self._streams.append(stream)


def segments(packets: NDArray[np.void]) -> NDArray[np.void]:
    """Packets that GRO has made, as the segments that are in them: dtype ARRIVAL."""
    counts = packets["flow"] >> 16
    made = np.repeat(packets, counts)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    made["sequence"] += (np.arange(len(made)) - first).astype(np.uint32)
    made["flow"] &= 0xFFFF
    return made


def _listener(ns: str, address: str, program: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with entered(ns):
        one = socket.socket(family, socket.SOCK_STREAM)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_RCVBUFFORCE", 33), BUFFER)
    one.setsockopt(socket.SOL_SOCKET, SO_ATTACH_BPF, program)
    one.bind((address, SINK_PORT))
    one.listen(256)
    return one


assert header("wire_tcp.h").struct("tcp_stamp").itemsize == TCP_STAMP_BYTES
