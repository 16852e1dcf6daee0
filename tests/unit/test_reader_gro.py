"""The reading sink takes several datagrams at once, as the kernel hands them over."""

import os
import socket
import struct
import time
from collections.abc import Iterator

import pytest

from bench.reader import ReadSink
from bench.sinks import EVERYTHING

RUN, SOL_UDP, UDP_SEGMENT = 77, 17, 103


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """Bound on the loopback, whose packets stay as the sender put them together."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        yield one


def stamped(sequence: int, size: int, run: int = RUN) -> bytes:
    stamp = struct.pack("<IHIQ", run, sequence % 3, sequence, time.monotonic_ns())
    return stamp.ljust(size, b"x")


def sent(server: socket.socket, size: int, count: int, at_once: int, last: int) -> int:
    """So many datagrams, some at once; each bunch ends with a shorter one. Returns the bytes."""
    total = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setsockopt(SOL_UDP, UDP_SEGMENT, size)
        for first in range(0, count, at_once):
            numbers = range(first, first + at_once)
            sizes = [size] * (at_once - 1) + [last]
            bunch = b"".join(stamped(n, s) for n, s in zip(numbers, sizes, strict=True))
            total += client.sendto(bunch, server.getsockname())
            time.sleep(0.001)
    return total


@pytest.mark.parametrize("gro", [False, True])
@pytest.mark.parametrize(("size", "last"), [(18, 18), (601, 19), (1400, 1399)])
def test_each_datagram_is_counted_and_logged(
    server: socket.socket, gro: bool, size: int, last: int
) -> None:
    sink = ReadSink([server], min(os.sched_getaffinity(0)), 8, gro)
    try:
        sink.configure(RUN, EVERYTHING)
        total = sent(server, size, 80, 20, last)
        deadline = time.monotonic() + 5
        while sink.counts().delivered < 80 and time.monotonic() < deadline:
            time.sleep(0.01)
        found = sink.counts()
        assert (found.delivered, found.bytes, found.foreign) == (80, total, 0)
        assert sink.arrivals()["sequence"].tolist() == list(range(80))
        assert sink.arrivals()["flow"].tolist() == [n % 3 for n in range(80)]
        assert int(sink.latency().sum()) == 80
        messages = sink.messages()
        assert messages == (4 if gro else 80)
    finally:
        sink.close()
