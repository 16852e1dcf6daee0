"""As test_frames.py, for IPv6 outside, inside, or both. Scapy builds the frames, and judges."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any

import numpy as np
import pytest
from frames import SECRET, STRIPPED, Nic, but
from ground import planned
from scapy.layers.inet import IP, TCP, UDP, in4_chksum
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    in6_chksum,
)
from scapy.layers.ipsec import AH
from scapy.layers.l2 import Ether
from scapy.packet import Packet
from scapy.utils import checksum

from bench.cost import route_of
from bench.lab_plan import Plan as LabPlan
from steering.layout import header
from steering.unit import Unit

LAX = "2001:2::9"
"""A VTEP from which packets without an outer checksum are taken; from the lab's own they are not."""
DATAGRAM = UDP(sport=4000, dport=9999)
SEGMENT = TCP(sport=4000, dport=9999, flags="A")
FILLING = b"a payload"
TYPES = {4: b"\x08\x00", 6: b"\x86\xdd"}
FIGURE_4 = ((0, 0, 0, None), (1, 1, 1, 3), (2, 1, 2, 3), (3, 3, 3, 3))
"""RFC 6040: by the inner mark and the outer one, Not-ECT, ECT(1), ECT(0), CE; None: dropped."""


@dataclass(frozen=True)
class Combination:
    """IP versions, and where what is in a frame of them."""

    outer: int
    inner: int

    @property
    def lab(self) -> LabPlan:
        return LabPlan("flannel", inner=self.inner, outer=self.outer)

    @property
    def udp(self) -> int:
        return 14 + _bytes(self.outer)

    @property
    def inside(self) -> int:
        return self.udp + 16

    @property
    def layer4(self) -> int:
        return self.inside + 14 + _bytes(self.inner)

    def ip(self, version: int, src: str, dst: str, **fields: Any) -> Packet:
        return IPv6(src=src, dst=dst, **fields) if version == 6 else IP(src=src, dst=dst, **fields)

    def around(self, outer: Packet | None = None, **udp: Any) -> Packet:
        """All up to the inner frame."""
        lab = self.lab
        link = Ether(dst=lab.nic_mac, src=lab.wire_mac)
        ip = outer or self.ip(self.outer, lab.wire_ip, lab.nic_ip)
        return link / ip / UDP(sport=49152, dport=lab.port, **udp) / struct.pack(">II", 8 << 24, lab.vni << 8)

    def within(self, layer: Packet = DATAGRAM, payload: bytes = FILLING, **fields: Any) -> Packet:
        """The inner frame."""
        lab = self.lab
        [pod] = lab.containers
        inside = Ether(dst=pod.mac, src=lab.peer_mac)
        return inside / self.ip(self.inner, lab.peer_ip, pod.ip, **fields) / layer / payload

    def lax(self, **fields: Any) -> Packet:
        """The outer IP header of a VTEP that may leave the checksum out."""
        remote = LAX if self.outer == 6 else self.lab.wire_ip
        return self.ip(self.outer, remote, self.lab.nic_ip, **fields)


def _bytes(version: int) -> int:
    return 40 if version == 6 else 20


def marked(version: int, mark: int, more: int = 0) -> dict[str, int]:
    """Fields that carry this congestion mark; ``more`` are the other bits of TOS or traffic class."""
    return {"tc" if version == 6 else "tos": more | mark}


SIX_FOUR, FOUR_SIX, SIX_SIX = Combination(6, 4), Combination(4, 6), Combination(6, 6)
ALL = pytest.mark.parametrize("way", [SIX_FOUR, FOUR_SIX, SIX_SIX], ids=["4 in 6", "6 in 4", "6 in 6"])
OUTER_6 = pytest.mark.parametrize("way", [SIX_FOUR, SIX_SIX], ids=["4 in 6", "6 in 6"])


@pytest.fixture(scope="module")
def unit() -> Iterator[Unit]:
    """Serves both outer versions at once: no row of one may be taken for one of the other."""
    four, six = route_of(LabPlan("flannel")), route_of(SIX_SIX.lab)
    with Unit(planned("local", deliver="peer"), SECRET) as made:
        made.serve(made.plan, SIX_SIX.lab.nic_mac)
        made.route([four, six, replace(six, remote=LAX, zero_checksum=True)])  # rows 0, 1, 2
        yield made


@pytest.fixture
def nic(unit: Unit) -> Nic:
    return Nic(unit, route_of(SIX_SIX.lab))


@ALL
def test_what_is_proven_is_stripped(nic: Nic, way: Combination) -> None:
    mtu = way.lab.inner_mtu - 8 - _bytes(way.inner)
    for frame in (
        way.around() / way.within(),
        way.around() / way.within(SEGMENT),
        way.around() / way.within(payload=b""),
        way.around() / way.within(payload=bytes(mtu)),
        way.around(way.lax(), chksum=0) / way.within(),
        way.around(way.lax(), chksum=0) / (bytes(way.within()) + bytes(18)),
        # The container's to drop, where it does:
        way.around(way.lax(), chksum=0) / way.within(but(DATAGRAM, chksum=0)),
        way.around(way.lax(), chksum=0) / way.within(but(DATAGRAM, chksum=1)),
    ):
        assert nic(frame) == (STRIPPED, bytes(frame)[way.inside :])
    if way.outer == 6:
        ip = way.ip(6, way.lab.wire_ip, way.lab.nic_ip, tc=0xB8, fl=0xFFFFF, hlim=1)
        frame = way.around(ip) / way.within()
        assert nic(frame) == (STRIPPED, bytes(frame)[way.inside :])


EXTENSIONS = {
    "options": (
        IPv6ExtHdrHopByHop(),
        IPv6ExtHdrRouting(),
        IPv6ExtHdrDestOpt(),
        AH(),
        *(bytes([17, 0]) + bytes(6) for _ in (135, 139, 140)),
    ),
    "fragment": (IPv6ExtHdrFragment(m=1), IPv6ExtHdrFragment(offset=9)),
}
NUMBERS = {"options": (0, 43, 60, 51, 135, 139, 140), "fragment": (44, 44)}


@ALL
@pytest.mark.parametrize("kind", [*EXTENSIONS])
def test_extension_headers_take_the_stock_path(nic: Nic, way: Combination, kind: str) -> None:
    lab = way.lab
    for extension, number in zip(EXTENSIONS[kind], NUMBERS[kind], strict=True):
        if way.outer == 6:
            ip = way.ip(6, lab.wire_ip, lab.nic_ip, nh=number) / extension
            assert nic(way.around(ip) / way.within())[0] == f"pass_{kind}"
        if way.inner == 6:
            within = way.within(
                extension / DATAGRAM if isinstance(extension, Packet) else extension, nh=number
            )
            assert nic(way.around(way.lax(), chksum=0) / within)[0] == f"pass_{kind}"


@ALL
def test_what_is_not_proven_is_left_alone(nic: Nic, way: Combination) -> None:
    lab, lax, plain = way.lab, way.around(way.lax(), chksum=0), way.around() / way.within()
    data, inside = bytes(plain), bytes(way.within(payload=bytes(20)))
    mtu = lab.inner_mtu - 8 - _bytes(way.inner)
    nic(plain)  # so that the flow's hint is there
    left: list[tuple[str, Packet | bytes]] = [
        ("length", data + bytes(4)),
        ("length", way.around() / way.within(payload=bytes(mtu + 1))),
        ("flags", data[: way.udp + 8] + b"\0" + data[way.udp + 9 :]),
        ("checksum", way.around(chksum=1) / way.within()),
        ("checksum", way.around() / way.within(but(DATAGRAM, chksum=0))),
        ("checksum", way.around() / way.within(but(DATAGRAM, chksum=1))),
        ("checksum", way.around() / (bytes(way.within()) + bytes(18))),
        ("vlan", data[:12] + b"\x81\0\0\0" + data[12:]),
        ("unknown", way.around(way.ip(way.outer, lab.nic_ip, lab.wire_ip)) / way.within()),
        ("unknown", lax / but(way.within(), dst="02:00:00:00:02:7f")),
        # A header behind the other version's type.
        ("options", data[:12] + TYPES[10 - way.outer] + data[14:]),
        ("options", lax / (inside[:12] + TYPES[10 - way.inner] + inside[14:])),
    ]
    if way.outer == 6:
        other = ({"nh": 58}, {"plen": 0}, {"plen": 600})
        ips = [way.ip(6, lab.wire_ip, lab.nic_ip, **fields) for fields in other]
        left += zip(("other", "length", "length"), (way.around(ip) / way.within() for ip in ips), strict=True)
    if way.inner == 6:
        left.append(("inner", lax / way.within(ICMPv6EchoRequest())))
        left.append(("inner", lax / way.within(b"", nh=59)))
    for counter, frame in left:
        assert nic(frame) == (f"pass_{counter}", bytes(frame))


@OUTER_6
def test_without_an_outer_checksum_only_where_the_tunnel_takes_that(nic: Nic, way: Combination) -> None:
    """As RFC 6935 has it: the stock stack drops it otherwise."""
    assert nic(way.around(chksum=0) / way.within())[0] == "pass_checksum"
    assert nic(way.around(way.lax(), chksum=0) / way.within())[0] == STRIPPED


@OUTER_6
def test_every_byte_of_an_address_counts(nic: Nic, way: Combination) -> None:
    frame = bytes(way.around() / way.within())
    nic(frame)
    for at in range(22, 54):
        # Changed in two words at once, so that the checksum stays right.
        data = bytearray(frame)
        data[at] ^= 1
        data[way.udp + 6 : way.udp + 8] = bytes(2)
        check = in6_chksum(17, IPv6(bytes(data[14:54])), bytes(data[54:])) or 0xFFFF
        data[way.udp + 6 : way.udp + 8] = check.to_bytes(2, "big")
        assert nic(bytes(data))[0] == "pass_unknown", at


def test_an_ipv4_row_is_none_of_ipv6(nic: Nic) -> None:
    """Whichever way an IPv4 address could be written in 16 bytes."""
    four = LabPlan("flannel")
    for form in ("::{}", "::ffff:{}"):
        ip = IPv6(src=form.format(four.wire_ip), dst=form.format(four.nic_ip))
        assert nic(SIX_FOUR.around(ip) / SIX_FOUR.within())[0] == "pass_unknown"
    words = [int(ip_address(address)) << 96 for address in (four.wire_ip, four.nic_ip)]
    ip = IPv6(src=str(ip_address(words[0])), dst=str(ip_address(words[1])))
    assert nic(SIX_FOUR.around(ip) / SIX_FOUR.within())[0] == "pass_unknown"


@pytest.mark.parametrize("end", [30, 38, 46, 54, 56, 58])
def test_each_part_of_a_flow_tells_it_from_others(unit: Unit, nic: Nic, end: int) -> None:
    """Flows that differ in one half of an address, or in a port: by chance 64 have 63.5 places of 4096."""
    flows, width = unit._module.map("flows"), header("maps.h").constants["MAX_FLOWS"]
    flow = np.dtype([("row", "<u4"), ("rest", f"V{flows.size - 4}")])
    for place in range(width):
        flows.put(place, bytes(flows.size))
    frame = bytearray(bytes(SIX_SIX.around(SIX_SIX.lax(), chksum=0) / SIX_SIX.within()))
    at = SIX_SIX.inside + end
    for number in range(64):
        frame[at - 2 : at] = (1000 + number).to_bytes(2, "big")
        assert nic(bytes(frame))[0] == STRIPPED
    assert sum(bool(flows.get(flow, place)["row"]) for place in range(width)) > 58


@ALL
@pytest.mark.parametrize("layer", [DATAGRAM, SEGMENT], ids=["UDP", "TCP"])
def test_an_outer_checksum_counts_to_the_last_bit(nic: Nic, way: Combination, layer: Packet) -> None:
    for length in (1, 2, 18, 999):
        frame = bytes(way.around() / way.within(layer, (bytes(range(256)) * 4)[:length]))
        assert sum_is_right(way, frame)
        assert nic(frame) == (STRIPPED, frame[way.inside :])
        at = way.udp + 6
        (check,) = struct.unpack_from(">H", frame, at)
        for bit in range(16):
            if check != 1 << bit:  # else it would be none
                wrong = frame[:at] + struct.pack(">H", check ^ 1 << bit) + frame[at + 2 :]
                assert nic(wrong)[0] == "pass_checksum"


@ALL
def test_congestion_marks(nic: Nic, way: Combination) -> None:
    """The outer mark is carried inwards as RFC 6040 says; all else stays, and so is the inner sum right."""
    for inner in range(4):
        for outer in range(4):
            left = FIGURE_4[inner][outer]
            for more in (0, 0xFC):
                within = way.within(**marked(way.inner, inner, more))
                frame = way.around(way.lax(**marked(way.outer, outer)), chksum=0) / within
                if left is None:
                    assert nic(frame)[0] == "pass_ecn"
                else:
                    wanted = way.within(**marked(way.inner, left, more))
                    assert nic(frame) == (STRIPPED, bytes(wanted))


def sum_is_right(way: Combination, frame: bytes) -> bool:
    ip, rest = frame[14 : way.udp], frame[way.udp :]
    found = in6_chksum(17, IPv6(ip), rest) if way.outer == 6 else in4_chksum(17, IP(ip), rest)
    return bool(found in (0, 0xFFFF))


def is_provable(way: Combination, frame: bytes) -> bool:
    """Whether all holds that is asked of a frame but for a right outer UDP checksum."""
    if len(frame) < way.layer4 + 8:
        return False
    lab, inside = way.lab, frame[way.inside :]
    [pod] = lab.containers
    udp = UDP(frame[way.udp : way.udp + 8])
    wanted = (
        frame[:6] == _mac(lab.nic_mac),
        _is_plain(way.outer, frame[12:]),
        _next(way.outer, frame[14:]) == 17,
        _length(way.outer, frame[14:]) == udp.len == len(frame) - way.udp,
        way.outer == 6 or checksum(frame[14:34]) == 0,
        _addresses(way.outer, frame[14:]) in ((lab.wire_ip, lab.nic_ip), (LAX, lab.nic_ip)),
        way.outer == 4 or udp.chksum or _addresses(6, frame[14:])[0] == LAX,
        udp.dport == lab.port,
        frame[way.udp + 8 : way.inside] == struct.pack(">II", 8 << 24, lab.vni << 8),
        inside[:6] == _mac(pod.mac),
        not inside[6] & 1 and any(inside[6:12]),
        _is_plain(way.inner, inside[12:]),
        _next(way.inner, inside[14:]) in (17, 6),
        _next(way.inner, inside[14:]) == 17 or len(frame) >= way.layer4 + 20,
        FIGURE_4[_mark(way.inner, inside[14:])][_mark(way.outer, frame[14:])] is not None,
        len(inside) <= 14 + lab.inner_mtu,
    )
    return all(map(bool, wanted))


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _is_plain(version: int, data: bytes) -> bool:
    """From the type of the Ethernet header on: no options and no fragment."""
    if version == 6:
        return data[:2] == b"\x86\xdd" and data[2] >> 4 == 6
    ip = IP(data[2:22])
    return data[:3] == b"\x08\x00\x45" and not (ip.flags.MF or ip.frag)


def _next(version: int, ip: bytes) -> int:
    return ip[6] if version == 6 else ip[9]


def _length(version: int, ip: bytes) -> int:
    total = int.from_bytes(ip[4:6] if version == 6 else ip[2:4], "big")
    return total if version == 6 else total - 20


def _addresses(version: int, ip: bytes) -> tuple[str, ...]:
    parts = (ip[8:24], ip[24:40]) if version == 6 else (ip[12:16], ip[16:20])
    return tuple(str(ip_address(part)) for part in parts)


def _mark(version: int, ip: bytes) -> int:
    return (ip[1] >> 4 if version == 6 else ip[1]) & 3


def judge(nic: Nic, way: Combination, frame: bytes) -> None:
    name, after = nic(frame)
    if not is_provable(way, frame):
        assert name != STRIPPED
        return
    assert name in (STRIPPED, "pass_checksum")
    if not any(frame[way.udp + 6 : way.udp + 8]):
        assert name == STRIPPED
    if name == STRIPPED:
        inside = bytearray(frame[way.inside :])
        mark = FIGURE_4[_mark(way.inner, inside[14:])][_mark(way.outer, frame[14:])] or 0
        shift = 4 if way.inner == 6 else 0
        inside[15] = inside[15] & ~(3 << shift) | mark << shift
        at = slice(24, 26) if way.inner == 4 else slice(0, 0)  # the header checksum follows the mark
        inside[at] = after[at]
        assert after == bytes(inside)


BASES = {
    way: [bytes(way.around(way.lax(**marked(way.outer, 1)), **udp) / way.within(**marked(way.inner, 2)))
          for udp in ({"chksum": 0}, {})]
    for way in (SIX_FOUR, FOUR_SIX, SIX_SIX)
}  # fmt: skip


@ALL
def test_a_frame_cut_anywhere(nic: Nic, way: Combination) -> None:
    """As it is: never stripped. With lengths that fit: when it is long enough."""
    frame = BASES[way][0]
    for length in range(14, len(frame)):
        assert nic(frame[:length])[0].startswith("pass_")
        if length < way.udp + 8:
            continue
        data = bytearray(frame[:length])
        struct.pack_into(">H", data, way.udp + 4, length - way.udp)
        if way.outer == 6:
            struct.pack_into(">H", data, 18, length - way.udp)
        else:
            struct.pack_into(">HQ", data, 16, length - 14, int.from_bytes(frame[18:24], "big") << 16)
            data[24:34] = b"\0\0" + frame[26:34]
            struct.pack_into(">H", data, 24, checksum(bytes(data[14:34])))
        judge(nic, way, bytes(data))


@ALL
def test_any_bit_of_the_headers_flipped(nic: Nic, way: Combination) -> None:
    """The bases, which differ only in the outer checksum, take turns. Of mixed versions a part will do."""
    for at in range(0, (way.layer4 + 8) * 8, 1 if way == SIX_SIX else 3):
        data = bytearray(BASES[way][at // 2 % 2])
        data[at // 8] ^= 1 << at % 8
        judge(nic, way, bytes(data))
