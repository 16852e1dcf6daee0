"""The grammar of the comparison's frames, put together with scapy.

An outer packet (IPv4 or IPv6, options, extension headers, fragments, VLAN tags) that holds a
tunnel, and in it an inner frame of the same variety, ARP, neighbour discovery, ICMP; or an outer
packet with something else.
"""

import logging
from collections.abc import Iterator
from typing import Any

from bench.lab_plan import Lab
from bench.verify_bytes import MAGIC
from bench.verify_side import OPEN_PORT

CLOSED_PORT = 10


class Grammar:
    """Headers of one lab, put together."""

    def __init__(self, lab: Lab) -> None:
        logging.getLogger("scapy.runtime").setLevel(logging.ERROR)  # it asks this host for routes
        from scapy.layers.inet import IP, UDP
        from scapy.layers.inet6 import IPv6
        from scapy.layers.l2 import Ether
        from scapy.layers.vxlan import VXLAN

        self.lab, end = lab, lab.endpoints[0]
        self.ether = Ether(src=lab.wire_mac, dst=lab.nic_mac)
        self.version = lab.spec.outer
        ends = {"src": lab.remote_vtep_ip, "dst": lab.vtep_ip}
        self.outer: Any = IPv6(**ends) if self.version == 6 else IP(id=1, **ends)
        self.udp = UDP(sport=49152, dport=lab.port, chksum=0)
        self.vxlan = VXLAN(flags="Instance", vni=lab.spec.vni)
        self.mac = Ether(src=end.peer_mac, dst=end.mac)
        own = {lab.spec.inner: (end.peer_ip, end.ip)}
        other = {4: ("10.77.2.1", "10.77.1.1"), 6: ("fd00:5:2::2:1", "fd00:5:2::1:1")} | own
        self.inside: Any = {
            4: IP(src=other[4][0], dst=other[4][1], id=1),
            6: IPv6(src=other[6][0], dst=other[6][1]),
        }

    def frames(self, size: int) -> Iterator[tuple[str, Any, float, bool]]:
        """(name, packet, weight, whether the next one belongs to it)."""
        tunnel = self.outer / self.udp / self.vxlan
        for name, inner, weight, first in self.inner_frames(size):
            yield f"tunnel/{name}", self.ether / tunnel / inner, weight, first
        plain = self.mac / next(self._packets(self.lab.spec.inner, size))[1]
        for name, packet, weight, first in self.outer_frames(plain):
            yield name, packet, weight, first

    def inner_frames(self, size: int) -> Iterator[tuple[str, Any, float, bool]]:
        """What may be in a tunnel."""
        from scapy.layers.l2 import ARP, LLC, Dot1Q, Ether

        for version in (4, 6):
            own = 1.0 if version == self.lab.spec.inner else 0.25
            for name, packet in self._packets(version, size):
                often = 6.0 if name in ("udp", "udp closed", "tcp") else 1.0
                weight = 0.0 if name.endswith("rest") else own * often
                yield f"ip{version} {name}", self.mac / packet, weight, name.endswith("first")
        packet = next(self._packets(4, size))[1]
        yield "vlan", self.mac / Dot1Q(vlan=7) / packet, 0.5, False
        yield "vlan priority", self.mac / Dot1Q(vlan=0, prio=3) / packet, 0.5, False
        yield (
            "vlan twice",
            self.mac / Dot1Q(vlan=7, type=0x8100) / Dot1Q(vlan=8) / packet,
            0.3,
            False,
        )
        end = self.lab.endpoints[0]
        ask = {"psrc": "10.77.2.1", "pdst": "10.77.1.1", "hwsrc": end.peer_mac}
        yield "arp request", self.mac / ARP(op=1, **ask), 0.5, False
        group = Ether(src=end.peer_mac, dst="ff:ff:ff:ff:ff:ff")
        yield "arp broadcast", group / ARP(op=1, **ask), 0.5, False
        yield "arp reply", self.mac / ARP(op=2, hwdst=end.mac, **ask), 0.5, False
        yield "broadcast", group / packet, 0.5, False
        for mac in ("01:00:5e:00:00:fb", "33:33:00:00:00:01", "01:80:c2:00:00:00"):
            yield f"group {mac}", Ether(src=end.peer_mac, dst=mac) / packet, 0.3, False
        yield (
            "llc",
            Ether(src=end.peer_mac, dst=end.mac, type=40) / LLC() / self._load(size),
            0.3,
            False,
        )

    def outer_frames(self, plain: Any) -> Iterator[tuple[str, Any, float, bool]]:
        """What a plain tunnelled frame may be in, and packets that are none."""
        from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
        from scapy.layers.inet6 import (
            ICMPv6EchoRequest,
            ICMPv6PacketTooBig,
            ICMPv6TimeExceeded,
            IPv6ExtHdrDestOpt,
            IPv6ExtHdrFragment,
            IPv6ExtHdrHopByHop,
        )
        from scapy.layers.l2 import ARP, GRE, Dot1Q
        from scapy.packet import Raw

        whole = self.udp / self.vxlan / plain
        head = self.ether / self.outer
        summed = UDP(sport=49152, dport=self.lab.port)
        yield "checksum", head / summed / self.vxlan / plain, 6.0, False
        yield "vlan", self.ether / Dot1Q(vlan=7) / self.outer / whole, 0.5, False
        yield "vlan priority", self.ether / Dot1Q(vlan=0, prio=5) / self.outer / whole, 0.5, False
        yield "dns", head / UDP(sport=49152, dport=53) / plain, 0.5, False
        yield (
            "other tunnel",
            head / UDP(sport=49152, dport=8472, chksum=0) / self.vxlan / plain,
            0.5,
            False,
        )
        yield "gre", head / GRE(proto=0x6558) / plain, 0.3, False
        yield "tcp", head / TCP(sport=7, dport=4789, flags="S"), 0.5, False
        yield "bare", plain, 1.0, False
        yield "bare to us", self.ether / plain.payload, 0.5, False
        yield "arp", self.ether / ARP(psrc="198.18.0.1", pdst="198.18.0.2"), 0.5, False
        quoted = bytes(
            self.outer.__class__(src=self.lab.vtep_ip, dst=self.lab.remote_vtep_ip) / whole
        )
        if self.version == 4:
            from scapy.layers.inet import IPOption_RR, IPOption_Timestamp

            for name, option in (
                ("record", IPOption_RR(routers=["0.0.0.0"] * 3)),
                ("time", IPOption_Timestamp()),
            ):
                outer = self.outer.copy()
                outer.options = [option]
                yield f"option {name}", self.ether / outer / whole, 0.5, False
            halves = fragment(self.outer / whole, fragsize=_half(whole))
            yield "fragment first", self.ether / halves[0], 0.5, True
            yield "fragment rest", self.ether / halves[1], 0.0, False
            yield "icmp echo", head / ICMP() / self._load(18), 0.5, False
            for name, kind, code in (("unreachable", 3, 1), ("too big", 3, 4), ("expired", 11, 0)):
                icmp = ICMP(type=kind, code=code, nexthopmtu=1300)
                yield f"icmp {name}", head / icmp / Raw(quoted), 0.4, False
            yield (
                "ip in ip",
                self.ether / self.outer / IP(src="10.77.2.1", dst="10.77.1.1") / UDP(),
                0.3,
                False,
            )
            return
        for name, header in (
            ("hop by hop", IPv6ExtHdrHopByHop()),
            ("destination", IPv6ExtHdrDestOpt()),
            ("atomic fragment", IPv6ExtHdrFragment(id=9)),
        ):
            yield (
                f"option {name}",
                self.ether / self.outer / header / summed / self.vxlan / plain,
                0.5,
                False,
            )
        yield "icmp echo", head / ICMPv6EchoRequest() / self._load(18), 0.5, False
        yield "icmp too big", head / ICMPv6PacketTooBig(mtu=1400) / Raw(quoted), 0.4, False
        yield "icmp expired", head / ICMPv6TimeExceeded() / Raw(quoted), 0.4, False

    def _load(self, size: int) -> Any:
        from scapy.packet import Raw

        return Raw(MAGIC + bytes(4) + bytes(at & 0xFF for at in range(max(0, size - 8))))

    def _packets(self, version: int, size: int) -> Iterator[tuple[str, Any]]:
        """Inner IP packets; the first one is a plain datagram."""
        from scapy.layers.inet import ICMP, TCP, UDP, IPOption_RR, fragment
        from scapy.layers.inet6 import (
            ICMPv6EchoRequest,
            ICMPv6ND_NA,
            ICMPv6ND_NS,
            ICMPv6ND_RA,
            ICMPv6NDOptSrcLLAddr,
            ICMPv6PacketTooBig,
            ICMPv6TimeExceeded,
            IPv6ExtHdrDestOpt,
            IPv6ExtHdrFragment,
            IPv6ExtHdrHopByHop,
            IPv6ExtHdrRouting,
        )
        from scapy.packet import Raw

        ip, load = self.inside[version], self._load(size)
        datagram = UDP(sport=7, dport=OPEN_PORT) / load
        yield "udp", ip / datagram
        yield "udp closed", ip / UDP(sport=7, dport=CLOSED_PORT) / load
        yield "udp no checksum", ip / UDP(sport=7, dport=OPEN_PORT, chksum=0) / load
        yield "tcp", ip / TCP(sport=7, dport=8, flags="PA", seq=1, ack=1) / load
        yield (
            "tcp syn",
            ip / TCP(sport=7, dport=8, flags="S", options=[("MSS", 1300), ("SAckOK", b"")]),
        )
        yield "tcp reset", ip / TCP(sport=7, dport=8, flags="R")
        yield (
            "sctp",
            ip.__class__(src=ip.src, dst=ip.dst, **{"proto" if version == 4 else "nh": 132}) / load,
        )
        back = ip.__class__(src=ip.dst, dst=ip.src)
        quoted = Raw(bytes(back / over(datagram, sport=OPEN_PORT, dport=7))[:200])
        if version == 4:
            options = ip.copy()
            options.options = [IPOption_RR(routers=["0.0.0.0"])]
            yield "option", options / datagram
            yield "icmp echo", ip / ICMP() / load
            yield "icmp too big", ip / ICMP(type=3, code=4, nexthopmtu=1200) / quoted
            yield "icmp unreachable", ip / ICMP(type=3, code=3) / quoted
            yield "icmp redirect", ip / ICMP(type=5, code=1, gw=ip.src) / quoted
            halves = fragment(ip / datagram, fragsize=_half(datagram))
            yield "fragment first", halves[0]
            yield "fragment rest", halves[1]
            return
        for name, header in (
            ("hop by hop", IPv6ExtHdrHopByHop()),
            ("destination", IPv6ExtHdrDestOpt()),
            ("routing", IPv6ExtHdrRouting(addresses=[])),
            ("atomic fragment", IPv6ExtHdrFragment(id=9)),
        ):
            yield name, ip / header / datagram
        whole, at = bytes((ip / datagram).payload), _half(datagram)
        piece = IPv6ExtHdrFragment(id=9, nh=17)
        yield "fragment first", ip / over(piece, m=1) / Raw(whole[:at])
        yield "fragment rest", ip / over(piece, offset=at // 8) / Raw(whole[at:])
        yield "icmp echo", ip / ICMPv6EchoRequest(data=bytes(load))
        yield "icmp too big", ip / ICMPv6PacketTooBig(mtu=1300) / quoted
        yield "icmp expired", ip / ICMPv6TimeExceeded() / quoted
        near = ip.copy()
        near.hlim = 255
        source = ICMPv6NDOptSrcLLAddr(lladdr=self.lab.endpoints[0].peer_mac)
        yield "nd ask", near / ICMPv6ND_NS(tgt=ip.dst) / source
        yield "nd tell", near / ICMPv6ND_NA(tgt=ip.src, R=0, S=1)
        yield "nd router", near / ICMPv6ND_RA() / source


def over(header: Any, **fields: object) -> Any:
    """The scapy header with other values in some fields."""
    changed = header.copy()
    for name, value in fields.items():
        changed.setfieldval(name, value)
    return changed


def _half(packet: Any) -> int:
    """A size of fragments, a multiple of eight, of which the packet makes two."""
    return (len(packet) // 2 + 8) // 8 * 8
