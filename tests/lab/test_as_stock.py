"""Odd and malformed frames: with the datapath a container gets what it gets without it.

The same frames go onto the wire twice, and what arrives on the container's device, before its own
stack has judged it, is compared whole.
"""

import struct
from collections import Counter
from collections.abc import Iterator

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet
from scapy.packet import Raw as Bytes
from scapy.utils import checksum
from talk import Raw, attached, plan

from bench import lab as labs
from bench.lab_plan import Lab
from steering.unit import Programs

NAME = "vs"
pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def programs() -> Iterator[Programs]:
    with Programs() as programs:
        yield programs


class Frames:
    """Frames for the first container of a lab."""

    def __init__(self, lab: Lab) -> None:
        end = lab.endpoints[0]
        six_out, six_in = lab.spec.outer == 6, lab.spec.inner == 6
        self.version = lab.spec.outer
        self.ether = Ether(src=lab.wire_mac, dst=lab.nic_mac)
        self.outer = (IPv6 if six_out else IP)(src=lab.remote_vtep_ip, dst=lab.vtep_ip)
        self.udp = UDP(sport=49152, dport=lab.port, chksum=0)
        self.vxlan = VXLAN(flags="Instance", vni=lab.spec.vni)
        self.mac = Ether(src=end.peer_mac, dst=end.mac)
        self.inner = (IPv6 if six_in else IP)(src=end.peer_ip, dst=end.ip)
        self.datagram = UDP(sport=7, dport=9) / b"as stock does"

    def around(self, inside: Packet, **outer: object) -> Packet:
        return self.ether / with_fields(self.outer, outer) / self.udp / self.vxlan / inside

    @property
    def good(self) -> bytes:
        return bytes(self.around(self.mac / self.inner / self.datagram))

    def damaged(self) -> Iterator[bytes]:
        """One bit of every header byte turned over; with outer lengths and checksum mended too.

        None comes from the container's own MAC: the bridge would learn that it has moved, and
        stock would send it nothing more.
        """
        headers = len(self.good) - len(self.datagram.payload)
        for place in range(headers):
            raw = bytearray(self.good)
            raw[place] ^= 1 << (place + 1) % 8
            yield bytes(raw)
            yield self.mended(bytes(raw))

    def cut(self) -> Iterator[bytes]:
        """Every length from the outer IP header on, with outer headers that agree or do not."""
        for length in range(15, len(self.good) + 1):
            yield self.good[:length]
            yield self.mended(self.good[:length])
        yield self.good + b"behind"

    def marked(self) -> Iterator[bytes]:
        """All pairs of congestion marks (RFC 6040)."""
        for outer, inner in ((outer, inner) for outer in range(4) for inner in range(4)):
            field_out = "tc" if self.version == 6 else "tos"
            field_in = "tc" if isinstance(self.inner, IPv6) else "tos"
            inside = self.mac / with_fields(self.inner, {field_in: 8 | inner}) / self.datagram
            yield bytes(self.around(inside, **{field_out: 4 | outer}))

    def odd(self) -> Iterator[bytes]:
        """What is not plain, outside and inside."""
        inside = self.mac / self.inner / self.datagram
        good_udp, group = UDP(sport=49152, dport=self.udp.dport), "01:00:5e:00:00:05"
        head = self.ether / self.outer
        yield bytes(head / good_udp / self.vxlan / inside)
        yield bytes(head / with_fields(good_udp, {"chksum": 0x1234}) / self.vxlan / inside)
        for header in (
            with_fields(self.vxlan, {"vni": 43}),
            with_fields(self.vxlan, {"flags": 0}),
            with_fields(self.vxlan, {"flags": 0x88}),
            with_fields(self.vxlan, {"reserved2": 1}),
        ):
            yield bytes(head / self.udp / header / inside)
        for port in (53, 8472):
            yield bytes(head / with_fields(self.udp, {"dport": port}) / self.vxlan / inside)
        stranger = "fd00:5:1::9" if self.version == 6 else "198.18.0.9"
        yield bytes(self.around(inside, src=stranger))
        yield bytes(self.around(inside, dst=stranger))
        for mac in (
            {"dst": "ff:ff:ff:ff:ff:ff"},
            {"dst": group},
            {"dst": "02:00:00:00:99:99"},
            {"src": group},
            {"src": "00:00:00:00:00:00"},
        ):
            yield bytes(self.around(with_fields(self.mac, mac) / self.inner / self.datagram))
        for layer4 in (
            TCP(sport=1, dport=2, flags="S"),
            TCP(sport=1, dport=2, flags="R"),
            UDP(sport=1, dport=2, chksum=0) / b"no checksum",
            UDP(sport=1, dport=2, chksum=1) / b"a wrong one",
            UDP(sport=1, dport=2, len=9) / b"a wrong length",
            ICMPv6EchoRequest() if isinstance(self.inner, IPv6) else ICMP(),
        ):
            yield bytes(self.around(self.mac / self.inner / layer4))
        yield bytes(self.around(self.mac / ARP(op=2, psrc="10.77.2.9", pdst="10.77.1.1")))
        yield bytes(self.around(self.mac / Dot1Q(vlan=7) / self.inner / self.datagram))
        yield bytes(self.around(Bytes(bytes(inside) + b"padding")))
        if isinstance(self.inner, IPv6):
            for header in (IPv6ExtHdrFragment(m=1), IPv6ExtHdrDestOpt()):
                yield bytes(self.around(self.mac / self.inner / header / self.datagram))
            return
        for fields in (
            {"flags": "MF"},
            {"frag": 4},
            {"options": [b"\\x01" * 4]},
            {"ttl": 0},
            {"ttl": 1},
            {"chksum": 1},
            {"len": 21},
            {"dst": "10.77.9.9"},
            {"src": "127.0.0.1"},
            {"src": "255.255.255.255"},
        ):
            inside = self.mac / with_fields(self.inner, fields) / self.datagram
            yield bytes(self.around(inside))

    def mended(self, frame: bytes) -> bytes:
        """With lengths and an IPv4 checksum that agree with what is there."""
        raw = bytearray(frame)
        at = 34 if self.version == 4 else 54
        if len(raw) < at + 8:
            return frame
        if self.version == 4:
            struct.pack_into("!H", raw, 16, len(raw) - 14)
            raw[24:26] = b"\\0\\0"
            struct.pack_into("!H", raw, 24, checksum(bytes(raw[14:34])))
        else:
            struct.pack_into("!H", raw, 18, len(raw) - 54)
        struct.pack_into("!H", raw, at + 4, len(raw) - at)
        return bytes(raw)


def with_fields(header: Packet, fields: dict[str, object]) -> Packet:
    changed = header.copy()
    for name, value in fields.items():
        changed.setfieldval(name, value)
    return changed


@pytest.mark.parametrize(
    ("case", "outer", "inner", "text"),
    [
        ("docker", 4, 4, "local:deliver=peer"),
        ("docker", 6, 4, "pin:deliver=veth"),
        ("flannel", 4, 6, "roundrobin:deliver=peer"),
        ("flannel", 6, 6, "local:deliver=veth"),
        ("linux", 4, 4, "pin:deliver=peer"),
    ],
)
def test_a_container_gets_what_stock_gives_it(
    programs: Programs, case: str, outer: int, inner: int, text: str
) -> None:
    spec = labs.LabSpec(case=case, name=NAME, outer=outer, inner=inner)
    with labs.held(spec) as lab:
        frames = Frames(lab)
        todo = [*frames.damaged(), *frames.cut(), *frames.marked(), *frames.odd()]
        stock = arrived(lab, todo)
        with attached(lab, plan(text), programs) as datapath:
            ours = arrived(lab, todo)
            counted = datapath.totals()
    assert counted.steer["seen"] == len(todo)
    assert counted.steer["local"] + counted.steer["remote"] > 60
    assert counted.steer["seen"] == sum(counted.steer.values()) - counted.steer["seen"]
    assert len(stock) > 80
    missing, more = Counter(stock) - Counter(ours), Counter(ours) - Counter(stock)
    assert not missing, sorted(frame.hex() for frame in missing)
    assert not more, sorted(frame.hex() for frame in more)


def arrived(lab: Lab, frames: list[bytes]) -> list[bytes]:
    """What comes in on the container's device when these frames are on the wire."""
    end = lab.endpoints[0]
    with Raw(lab.wire_ns, lab.wire) as wire, Raw(end.netns, end.device) as container:
        wire.send(frames)
        return container.received()
