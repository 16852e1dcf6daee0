"""An application that really reads: a thread that takes datagrams out of a socket with recvmmsg(2), on a core
that one chooses. What it does with them is little: it counts them, and looks at the stamps of whole batches.
"""

import ctypes
import errno
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.traffic import LARGEST
from bench.wire import on_core
from steering import cores, libc
from steering.closing import Closing
from steering.knobs import Knob, read_knobs
from steering.layout import header
from steering.spec import Spec
from steering.waiting import wait_for

STAMP = header("stamp.h").struct("stamp")
ARRIVAL = header("sink.h").struct("arrival")
LOG = header("sink.h").constants["SINK_LOG"]
BUFFER = 4 << 20
"""Bytes that wait in a socket at most: what a careful application asks for, not the kernel's 208 KiB."""
_ROOM = -(-LARGEST // 64) * 64
_LOOK_US = 50_000
"""How long one call waits before it looks whether it should end."""
_WAIT_FOR_ONE = 0x10000
_SO_RCVBUFFORCE = 33


@dataclass(frozen=True)
class Reads:
    """How the application reads: on which core, and how many datagrams a call at most (1: as recv does)."""

    core: int
    batch: int = 64

    def __str__(self) -> str:
        return f"read:core={self.core},batch={self.batch}"


_KNOBS = {
    "core": Knob(-1, 0, 4095, "a core", "where it runs; the last that may be used, if left out"),
    "batch": Knob(64, 1, 1024, "datagrams", "that one call takes at most; 1: as recv does"),
}


def reads_of(spec: Spec) -> Reads:
    """Of ``read[:core=N,batch=N]``. BadInput: no such knob or core."""
    values = read_knobs("'read'", _KNOBS, spec.args)
    core = values["core"] if "core" in spec.args else cores.usable()[-1]
    cores.require_usable(core)
    return Reads(core, values["batch"])


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Msghdr(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint),
        ("parts", ctypes.POINTER(_Iovec)),
        ("count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Mmsghdr(ctypes.Structure):
    _fields_ = (("header", _Msghdr), ("length", ctypes.c_uint))


class Reader(Closing):
    """Reads one socket from construction until :meth:`close`. A context manager.

    ``is_sampled`` tells, of sequence numbers, which are logged.
    """

    def __init__(
        self, one: socket.socket, how: Reads, is_sampled: Callable[[NDArray[np.uint32]], NDArray[np.bool_]]
    ) -> None:
        self.read = 0
        """Datagrams taken out of the socket."""
        self.unlogged = 0
        self.error: BaseException | None = None
        self._how, self._is_sampled = how, is_sampled
        self._socket, self._stop, self._begun = one, threading.Event(), threading.Event()
        self._arrivals, self._intended = np.zeros(LOG, ARRIVAL), np.zeros(LOG, np.uint64)
        self._logged = 0
        one.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, BUFFER)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", 0, _LOOK_US))
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)
        self._thread.start()
        wait_for(self._begun.is_set, "the reader to begin")

    @property
    def thread(self) -> int:
        """Its id, as the kernel knows it."""
        return self._thread.native_id or 0

    def forget(self) -> None:
        """Count from 0 again; for a socket to which nothing comes meanwhile."""
        self.read = self.unlogged = self._logged = 0

    def arrivals(self) -> NDArray[np.void]:
        """The samples (dtype ARRIVAL) in the order in which they were read; times are of their batches."""
        return self._arrivals[: self._logged]

    def latencies(self) -> NDArray[np.uint64]:
        """ns from the intended send time of each sample until it was read."""
        return self._arrivals["time"][: self._logged] - self._intended[: self._logged]

    def close(self) -> None:
        """End the thread; what is in the socket stays there. Closing twice is harmless."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            with on_core(self._how.core):
                self._take_all()
        except BaseException as error:  # a thread's exception would be lost, and everybody wait for ever
            self.error = error
            self._begun.set()

    def _take_all(self) -> None:
        count, handle = self._how.batch, self._socket.fileno()
        room = np.zeros((count, _ROOM), np.uint8)
        parts = (_Iovec * count)(*(_Iovec(room[at].ctypes.data, _ROOM) for at in range(count)))
        calls = (_Mmsghdr * count)()
        for at in range(count):
            calls[at].header.parts, calls[at].header.count = ctypes.pointer(parts[at]), 1
        stamps: NDArray[np.void] = np.ndarray((count,), STAMP, room, strides=(_ROOM,))
        self._begun.set()
        while not self._stop.is_set():
            try:
                taken = libc.recvmmsg(handle, ctypes.addressof(calls), count, _WAIT_FOR_ONE)
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EINTR):
                    raise
                continue
            self._look(stamps[:taken], time.monotonic_ns())
            self.read += taken  # last: who sees the count may read the log

    def _look(self, stamps: NDArray[np.void], now: int) -> None:
        chosen = self._is_sampled(stamps["sequence"])
        if not chosen.any():
            return
        found = stamps[chosen]
        first, end = self._logged, min(self._logged + len(found), LOG)
        self.unlogged += len(found) - (end - first)
        found = found[: end - first]
        part = self._arrivals[first:end]
        part["time"], part["sequence"], part["flow"] = now, found["sequence"], found["flow"]
        self._intended[first:end] = found["intended"]
        self._logged = end
