"""What the compiled loops of reading sinks share: clock, histogram, receive timeouts."""

import socket

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

WAKE_SECONDS = 0.05
"""After which a reader that gets nothing looks whether it is to stop."""
_CLOCK_MONOTONIC = 1

_clock_gettime = types.ExternalFunction("clock_gettime", types.int32(types.int32, types.uintp))


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def bucket(value: int) -> int:
    """bench.histogram's formula, for one value."""
    if value < 32:
        return value
    if value >> 36:
        return 1023
    exponent = 5
    while value >> (exponent + 1):
        exponent += 1
    return ((exponent - 4) << 5) + ((value >> (exponent - 5)) & 31)


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def number(data: NDArray[np.uint8], at: int, size: int) -> int:
    """So many bytes (1 to 8) as a number, little endian."""
    value = np.int64(0)
    for byte in range(size):
        value |= np.int64(data[at + byte]) << (8 * byte)
    return int(value)


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def now(clock: NDArray[np.int64], clock_at: int) -> int:
    """CLOCK_MONOTONIC, ns; ``clock`` is a struct timespec that lies at ``clock_at``."""
    _clock_gettime(_CLOCK_MONOTONIC, clock_at)
    return int(clock[0] * 1_000_000_000 + clock[1])


def let_wake(one: socket.socket) -> None:
    """Have the socket's reads return after WAKE_SECONDS without anything."""
    timeout = np.array([0, int(WAKE_SECONDS * 1e6)], np.int64).tobytes()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
