"""Delivery after GRO: what does not carry our proof is left to the stock stack, untouched.

A test run gives an skb no metadata; what carries it is delivered in tests/lab/test_datapath.py.
"""

from collections.abc import Iterator

import numpy as np
import pytest
from frames import BOX, BOX_MAC, DATAGRAM, IN4, IN6, NIC, SEGMENT, over
from nic import PROOF, SECRET
from rows import GOOD4, GOOD6, PASSED
from scapy.layers.l2 import ARP
from scapy.packet import Raw

from steering import bpf
from steering.compile import Module
from steering.unit import Programs

pytestmark = pytest.mark.root

UNSPEC = 0xFFFFFFFF
"""TC_ACT_UNSPEC, -1: whatever comes next."""


@pytest.fixture(scope="module")
def programs() -> Iterator[Programs]:
    with Programs() as programs:
        programs.secret = SECRET
        yield programs


@pytest.fixture(params=[0, 1], ids=["first hop", "second hop"])
def peer(request: pytest.FixtureRequest, programs: Programs) -> Module:
    return programs.peer(request.param)


def forged() -> bytes:
    """A right proof, but where anybody could have put it."""
    proof = np.zeros((), PROOF)
    proof["secret"], proof["device"], proof["next"] = SECRET, 1, 1
    return proof.tobytes()


BARE = [
    ("for the container", BOX / IN4 / DATAGRAM),
    ("for the container, IPv6", BOX / IN6 / SEGMENT),
    ("for the NIC", over(BOX, dst=NIC) / IN4 / DATAGRAM),
    ("broadcast", over(BOX, dst="ff:ff:ff:ff:ff:ff") / ARP()),
    ("with a tunnel", GOOD4),
    ("with a tunnel, IPv6", GOOD6),
    ("a proof in the payload", BOX / IN4 / Raw(forged())),
    ("a proof in front", Raw(forged() + bytes(BOX / IN4 / DATAGRAM))),
    ("a proof behind the MAC header", over(BOX, dst=BOX_MAC) / Raw(forged())),
    *(row for rows in PASSED.values() for row in rows if len(row[1]) > 34),
]


def test_a_packet_without_metadata_is_stocks(peer: Module) -> None:
    program = peer.load("peer", bpf.PROG_TYPE_SCHED_CLS)
    for what, frame in BARE:
        before = peer.total("peer_counters", "peer_counter")
        run = bpf.prog_test_run(program, bytes(frame))
        assert (run.retval, run.data) == (UNSPEC, bytes(frame)), what
        assert peer.total("peer_counters", "peer_counter") == before | {
            "stock": before["stock"] + 1
        }
