"""Congestion marks of packets that leave the tunnel: the whole table of RFC 6040, figure 4."""

import struct
from itertools import product

import pytest
from frames import BARE, BOX, DATAGRAM, ETHER, IN4, IN6, OUT4, OUT6, SUMMED, VXLAN42, over
from nic import PASS, Nic
from oracle import ARRIVING_OUTER, CE, ECT0, ECT1, MARKS
from scapy.packet import Packet

pytestmark = pytest.mark.root

DROP = None
"""What the RFC wants dropped goes to the stock stack, which drops it."""

CASES = [
    (outer, inner, outgoing)
    for inner, row in MARKS.items()
    for outer, outgoing in zip(ARRIVING_OUTER, row, strict=True)
]
DSCP_OUT, DSCP_IN = 0xB8, 0x48


def outside(version: int, mark: int) -> Packet:
    if version == 4:
        return ETHER / over(OUT4, tos=DSCP_OUT | mark) / BARE / VXLAN42
    return ETHER / over(OUT6, tc=DSCP_OUT | mark) / SUMMED / VXLAN42


def inside(version: int, mark: int) -> Packet:
    if version == 4:
        return BOX / over(IN4, tos=DSCP_IN | mark) / DATAGRAM
    return BOX / over(IN6, tc=DSCP_IN | mark, fl=0xABCDE) / DATAGRAM


@pytest.mark.parametrize(("outer", "inner", "outgoing"), CASES)
@pytest.mark.parametrize(("outer_ip", "inner_ip"), [*product((4, 6), (4, 6))])
def test_mark_that_leaves_the_tunnel(
    witness: Nic, outer_ip: int, inner_ip: int, outer: int, inner: int, outgoing: int | None
) -> None:
    frame = bytes(outside(outer_ip, outer) / inside(inner_ip, inner))
    run = witness.run(frame)
    if outgoing is DROP:
        assert (run.verdict, run.counted) == (PASS, {"seen": 1, "pass_ecn": 1})
        assert run.frame == frame
    else:
        assert run.counted == {"seen": 1, "local": 1}
        # Nothing but the mark differs, TTL included, and the header's checksum is right again.
        assert run.frame == bytes(inside(inner_ip, outgoing))


@pytest.mark.parametrize("wanted", [0, 1, 2, 3, 0x7FFF, 0xFFFC, 0xFFFD, 0xFFFE])
@pytest.mark.parametrize(("outer", "inner"), [(CE, ECT0), (CE, ECT1), (ECT1, ECT0)])
def test_checksum_at_its_edges(witness: Nic, outer: int, inner: int, wanted: int) -> None:
    whole = BOX / over(IN4, id=0, tos=inner) / DATAGRAM
    (base,) = struct.unpack("!H", bytes(whole)[24:26])
    header = over(IN4, id=(base - wanted) % 0xFFFF, tos=inner)
    assert bytes(BOX / header / DATAGRAM)[24:26] == struct.pack("!H", wanted)
    run = witness.run(outside(4, outer) / BOX / header / DATAGRAM)
    mark = MARKS[inner][ARRIVING_OUTER.index(outer)]
    assert run.frame == bytes(BOX / over(header, tos=mark) / DATAGRAM)
