"""Sink ``read``: an application that really reads, with recvmmsg, in a loop compiled by numba.

One thread a socket, all on the application's core. The loop runs without Python's lock, so that it
disturbs nothing and is disturbed by nothing but the kernel.
"""

import socket
import threading
from typing import Any

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from bench.histogram import BUCKETS
from bench.reading import bucket, let_wake, now, number
from bench.sinks import ARRIVAL, ByFlow, Received, Window, pinned
from steering.layout import header

_LOG_ENTRIES = 1 << 19
_SLOT, _GRO_SLOT = 3456, 1 << 16
"""Bytes of a buffer: the largest payload that fits a live frame; all that GRO may put together."""
_SOL_UDP, _UDP_GRO, _SO_BUSY_POLL = 17, 104, 46
_CONTROL_WORDS = 6
"""Of 4 bytes: a control message (cmsghdr) with one integer, the length of GRO's segments."""
_FLOWS = header("sink.h").constants["SINK_FLOWS"]
_MSG_WAITFORONE = 0x10000
# Places in the array that the loop and its owner share.
_DELIVERED, _BYTES, _FOREIGN, _UNLOGGED, _LOGGED, _READ = range(6)
_STOP, _RUN, _MASK, _BELOW, _PLACES = range(6, 11)

_recvmmsg = types.ExternalFunction(
    "recvmmsg", types.int32(types.int32, types.uintp, types.uint32, types.int32, types.uintp)
)

U64 = NDArray[np.uint64]


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _take(
    data: NDArray[np.uint8],
    at: int,
    size: int,
    arrived: int,
    shared: NDArray[np.int64],
    flows: NDArray[np.int64],
    latency: NDArray[np.int64],
    times: NDArray[np.int64],
    numbers: NDArray[np.int64],
) -> None:
    """Count and log one datagram: struct stamp in xdp/include/stamp.h."""
    if size < 18 or number(data, at, 4) != shared[_RUN]:
        shared[_FOREIGN] += 1
        return
    flow = number(data, at + 4, 2)
    if flow < flows.size:
        flows[flow] += 1
    shared[_DELIVERED] += 1
    shared[_BYTES] += size
    sequence = number(data, at + 6, 4)
    if sequence & shared[_MASK] >= shared[_BELOW]:
        return
    intended = number(data, at + 10, 8)
    latency[1 if flow else 0, bucket(max(0, arrived - intended))] += 1
    place = shared[_LOGGED]
    if place >= times.size:
        shared[_UNLOGGED] += 1
        return
    times[place] = arrived
    numbers[place * 2] = sequence
    numbers[place * 2 + 1] = flow
    shared[_LOGGED] = place + 1


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _read(
    fd: int,
    headers: NDArray[np.uint32],
    headers_at: int,
    bulk: int,
    slot: int,
    control: NDArray[np.int32],
    data: NDArray[np.uint8],
    clock: NDArray[np.int64],
    clock_at: int,
    shared: NDArray[np.int64],
    flows: NDArray[np.int64],
    latency: NDArray[np.int64],
    times: NDArray[np.int64],
    numbers: NDArray[np.int64],
) -> None:
    """Read until told to stop. ``headers`` are struct mmsghdr as 16 words, ``numbers`` a log of
    (sequence, flow); addresses go beside their arrays, for libc takes numbers. Where ``control``
    has room, a read may be several datagrams: the kernel tells their length there.
    """
    while shared[_STOP] == 0:
        if control.size:
            for i in range(bulk):
                headers[i * 16 + 10] = _CONTROL_WORDS * 4
        got = _recvmmsg(fd, headers_at, bulk, _MSG_WAITFORONE, 0)
        if got <= 0:
            continue  # the receive timeout: look whether to stop
        arrived = now(clock, clock_at)
        shared[_READ] += got
        for i in range(got):
            length = int(headers[i * 16 + 14])
            segment = length
            if control.size and headers[i * 16 + 10]:
                segment = max(1, int(control[i * _CONTROL_WORDS + 4]))
            for offset in range(0, length, segment):
                at = i * slot + offset
                size = min(segment, length - offset)
                _take(data, at, size, arrived, shared, flows, latency, times, numbers)


class _Reader:
    """One socket, its buffers and its thread."""

    def __init__(self, one: socket.socket, core: int, bulk: int, gro: bool) -> None:
        self.socket = one
        self._slot = _GRO_SLOT if gro else _SLOT
        if gro:
            one.setsockopt(_SOL_UDP, _UDP_GRO, 1)
        let_wake(one)
        self.shared = np.zeros(_PLACES, np.int64)
        self.flows = np.zeros(_FLOWS, np.int64)
        self.latency = np.zeros((2, BUCKETS), np.int64)  # of the first flow, of the others
        self.times = np.zeros(_LOG_ENTRIES, np.int64)
        self.numbers = np.zeros(_LOG_ENTRIES * 2, np.int64)
        self._data = np.zeros(bulk * self._slot, np.uint8)
        self._control = np.zeros(bulk * _CONTROL_WORDS if gro else 0, np.int32)
        self._vectors = np.zeros(bulk * 2, np.uint64)  # struct iovec: base, length
        self._headers = np.zeros(bulk * 8, np.uint64)  # struct mmsghdr: 64 bytes
        base, vectors = self._data.ctypes.data, self._vectors.ctypes.data
        for i in range(bulk):
            self._vectors[i * 2 : i * 2 + 2] = base + i * self._slot, self._slot
            self._headers[i * 8 + 2 : i * 8 + 4] = vectors + i * 16, 1
            if gro:
                self._headers[i * 8 + 4] = self._control.ctypes.data + i * _CONTROL_WORDS * 4
        self._clock = np.zeros(2, np.int64)
        self._bulk = bulk
        self.tid = 0
        self._started = threading.Event()
        self.shared[_STOP] = 1
        _read(*self._arguments())  # compiled before there is anything to read
        self.shared[_STOP] = 0
        self.thread = pinned(core, "read", self._run)
        self._started.wait()

    def _run(self) -> None:
        self.tid = threading.get_native_id()
        self._started.set()
        _read(*self._arguments())

    def _arguments(self) -> tuple[Any, ...]:
        return (
            self.socket.fileno(),
            self._headers.view(np.uint32),
            self._headers.ctypes.data,
            self._bulk,
            self._slot,
            self._control,
            self._data,
            self._clock,
            self._clock.ctypes.data,
            self.shared,
            self.flows,
            self.latency,
            self.times,
            self.numbers,
        )

    @property
    def messages(self) -> int:
        """What was read: datagrams, or several that GRO put together as one."""
        return int(self.shared[_READ])

    def configure(self, run: int, window: Window) -> None:
        self.shared[[_DELIVERED, _BYTES, _FOREIGN, _UNLOGGED, _LOGGED, _READ]] = 0
        self.shared[[_RUN, _MASK, _BELOW]] = run, window.period - 1, window.length
        self.latency[:] = 0
        self.flows[:] = 0

    def close(self) -> None:
        self.shared[_STOP] = 1
        self.thread.join()
        self.socket.close()


class ReadSink:
    """Readers for all endpoints; see :class:`bench.sinks.Sink`."""

    def __init__(
        self,
        sockets: list[socket.socket],
        core: int,
        bulk: int,
        gro: bool = False,
        busy: int = 0,
    ) -> None:
        """``gro``: the sockets take what GRO put together as one; ``busy``: us that a read polls
        the queue its packets came from before it sleeps."""
        for one in sockets:
            one.setsockopt(socket.SOL_SOCKET, _SO_BUSY_POLL, busy)
        self._readers = [_Reader(one, core, bulk, gro) for one in sockets]

    @property
    def threads(self) -> list[int]:
        """Kernel thread ids of the application."""
        return [reader.tid for reader in self._readers]

    def configure(self, run: int, window: Window) -> None:
        """See :class:`bench.sinks.Sink`. Nothing of the run may be on its way yet."""
        for reader in self._readers:
            reader.configure(run, window)

    def counts(self) -> Received:
        """See :class:`bench.sinks.Sink`."""
        total = np.sum([reader.shared for reader in self._readers], axis=0)
        delivered, size, foreign, unlogged = (
            int(total[place]) for place in (_DELIVERED, _BYTES, _FOREIGN, _UNLOGGED)
        )
        return Received(delivered, size, foreign, unlogged)

    def messages(self) -> int:
        """How many reads these were: with GRO one may be several datagrams."""
        return sum(reader.messages for reader in self._readers)

    def latency(self) -> U64:
        """See :class:`bench.sinks.Sink`; the time of a bulk is that of its reading."""
        counts: U64 = np.sum([r.latency.sum(axis=0) for r in self._readers], axis=0).astype(
            np.uint64
        )
        return counts

    def by_flow(self) -> ByFlow:
        """See :class:`bench.sinks.Sink`."""
        delivered, others = (
            np.sum(each, axis=0).astype(np.uint64)
            for each in ([r.flows for r in self._readers], [r.latency[1] for r in self._readers])
        )
        return ByFlow(delivered, others)

    def arrivals(self) -> NDArray[np.void]:
        """See :class:`bench.sinks.Sink`: the order in which the application got them."""
        parts = []
        for reader in self._readers:
            used = int(reader.shared[_LOGGED])
            part = np.zeros(used, ARRIVAL)
            part["time"] = reader.times[:used]
            part["sequence"] = reader.numbers[: used * 2 : 2]
            part["flow"] = reader.numbers[1 : used * 2 : 2]
            parts.append(part)
        merged = np.concatenate(parts)
        return merged[np.argsort(merged["time"], kind="stable")]

    def close(self) -> None:
        """Stop reading."""
        for reader in self._readers:
            reader.close()
