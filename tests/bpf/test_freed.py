"""What the kernel frees, by its own reasons: exact in the watched namespace, whatever others do meanwhile."""

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from bench.freed import Freed, reasons
from steering import bpf, btf, netns
from steering.bpf import Kind
from steering.errors import OversprayError
from steering.waiting import wait_for

pytestmark = pytest.mark.needs("BTF")

N = 20
_SO_MEMINFO, _QUEUED, _DROPPED = 55, 0, 8


@contextmanager
def space(role: str) -> Iterator[str]:
    """A namespace whose loopback is up."""
    name = f"test{os.getpid()}-{role}"
    netns.create(name)
    try:
        with netns.entered(name), IPRoute() as ip:
            ip.link("set", index=1, state="up")
        yield name
    finally:
        netns.remove(name)


def to_nobody(name: str, count: int) -> None:
    with netns.entered(name), socket.socket(type=socket.SOCK_DGRAM) as one:
        for _ in range(count):
            one.sendto(b"x", ("127.0.0.1", 9))


def memory(one: socket.socket, what: int) -> int:
    """Bytes that wait in a socket, or packets that it has dropped. A busy core gets them late."""
    return int(struct.unpack("=9I", one.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 36))[what])


def by_reason(freed: Freed) -> dict[str, int]:
    """Of those that are counted at all, whichever function this kernel frees them in."""
    found: dict[str, int] = {}
    for name, count in freed.read().items():
        reason = name.rpartition(".")[2]
        found[reason] = found.get(reason, 0) + count
    return {reason: count for reason, count in found.items() if count}


def test_each_has_its_reason_and_others_namespaces_are_not_counted() -> None:
    with space("one") as name, space("other") as other, Freed([name]) as freed:
        to_nobody(other, N)
        to_nobody(name, N)
        wait_for(lambda: by_reason(freed).get("no_socket", 0) >= N, lambda: f"{N} of {freed.read()}")
        assert by_reason(freed) == {"no_socket": N}


def test_a_full_socket_is_one() -> None:
    with space("full") as name, Freed([name]) as freed, netns.entered(name):
        with socket.socket(type=socket.SOCK_DGRAM) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # the kernel makes it its least
            one.bind(("127.0.0.1", 0))
            one.sendto(bytes(1000), one.getsockname())
            wait_for(lambda: memory(one, _QUEUED), "the first packet")
            each = memory(one, _QUEUED)
            for _ in range(N - 1):
                one.sendto(bytes(1000), one.getsockname())
            wait_for(
                lambda: memory(one, _QUEUED) // each + memory(one, _DROPPED) == N,
                lambda: f"{N} packets: {memory(one, _DROPPED)} were dropped",
            )
            waiting = 0
            one.setblocking(False)
            try:
                while one.recv(1000):
                    waiting += 1
            except BlockingIOError:
                pass
        assert 0 < waiting < N
        assert by_reason(freed) == {"socket_rcvbuff": N - waiting}


def test_what_a_filter_drops_is_no_loss() -> None:
    """As the sink does, which counts it first."""
    with space("filter") as name, Freed([name]) as freed, netns.entered(name):
        with (
            bpf.Program(bpf.returning(0), Kind.SOCKET_FILTER) as program,
            socket.socket(type=socket.SOCK_DGRAM) as one,
        ):
            one.setsockopt(socket.SOL_SOCKET, 50, program.fd.to_bytes(4, "little"))
            one.bind(("127.0.0.1", 0))
            for _ in range(N):
                one.sendto(b"x", one.getsockname())
            wait_for(lambda: memory(one, _DROPPED) == N, lambda: f"{N}: {memory(one, _DROPPED)}")
        to_nobody(name, 1)
        wait_for(lambda: by_reason(freed), "the one that nobody has")
        assert by_reason(freed) == {"no_socket": 1}


def test_names_are_the_running_kernels() -> None:
    names = reasons(btf.kernel().enum("skb_drop_reason"))
    assert (names[0], names[2]) == ("not_dropped_yet", "not_specified")
    assert {"no_socket", "socket_filter", "cpu_backlog"} <= set(names.values())


def test_a_closed_one_leaves_no_descriptor() -> None:
    def use() -> int:
        with space("closed") as name, Freed([name]) as freed:
            freed.read()
        freed.close()
        return len(list(Path("/proc/self/fd").iterdir()))

    assert use() == use()


def test_a_namespace_that_is_not_there_is_named() -> None:
    with pytest.raises(OversprayError, match="no network namespace 'nowhere'"):
        Freed(["nowhere"])
