"""Packet filters of a namespace: the kernel's answers, read; and what discovery makes of them."""

import socket
import struct
from collections.abc import Sequence

import pytest

from steering import events, rules

NEWTABLE, ERROR, DONE = 10 << 8, 2, 3
RTM_NEWLINK, RTM_NEWNEIGH, RTM_NEWADDR = 16, 28, 20


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 1, 0) + body + bytes(-len(body) % 4)


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def told(*answers: Sequence[bytes]) -> list[str]:
    """What is read of the kernel's answers, each of several messages."""
    kernel, asking = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with kernel, asking:
        for answer in answers:
            kernel.send(b"".join(answer))
        return rules._names(asking)


def test_tables_of_all_families_are_listed() -> None:
    family = bytes((2, 0, 0, 0))
    one = message(NEWTABLE, family + attribute(3, b"\0\0\0\1") + attribute(1, b"filter\0"))
    two = message(NEWTABLE, family + attribute(1, b"my-firewall\0"))
    done = message(DONE, bytes(4))
    assert told([one, two], [done]) == ["filter", "my-firewall"]
    assert told([done]) == []


def test_a_refusal_is_an_error() -> None:
    with pytest.raises(OSError, match="list the tables of nftables"):
        told([message(ERROR, struct.pack("=i", -1))])


def test_of_neighbours_forwarding_entries_alone_are_news() -> None:
    data = message(RTM_NEWNEIGH, bytes((socket.AF_INET, 0, 0, 0))) + message(RTM_NEWADDR, bytes(8))
    assert not any(map(events._matters, events._messages(data)))
    for kind, family in ((RTM_NEWLINK, socket.AF_UNSPEC), (RTM_NEWNEIGH, socket.AF_BRIDGE)):
        found = events._messages(data + message(kind, bytes((family, 0, 0, 0))))
        assert len(found) == 3 and any(map(events._matters, found))
