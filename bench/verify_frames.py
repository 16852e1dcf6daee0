"""Whole frames that the generator starts from, each with the places of its fields.

The grammar: an outer packet (IPv4 or IPv6, options, extension headers, fragments, VLAN tags) that
holds a tunnel, and in it an inner frame of the same variety, ARP, neighbour discovery, ICMP; or an
outer packet with something else. What may stand in a field besides any bits is listed here too.
"""

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.lab_plan import BRIDGE_MAC, Lab
from bench.verify_bytes import MAGIC, packet_field
from bench.verify_grammar import Grammar
from bench.verify_side import OTHER_MAC, OTHER_VTEP

SHORT, LONG, JUMBO = 18, 1400, 2600
"""Payload sizes, bytes; JUMBO only where the MTU takes it."""

_SIZES: Mapping[str, Sequence[tuple[str, int, int]]] = {
    "Ethernet": (("dst", 0, 6), ("src", 6, 6), ("type", 12, 2)),
    "802.1Q": (("prio", 0, 1), ("id", 0, 2), ("type", 2, 2)),
    "IP": (
        ("version_ihl", 0, 1), ("tos", 1, 1), ("len", 2, 2), ("id", 4, 2), ("frag", 6, 2),
        ("ttl", 8, 1), ("proto", 9, 1), ("chksum", 10, 2), ("src", 12, 4), ("dst", 16, 4),
    ),
    "IPv6": (
        ("version_class", 0, 1), ("class_flow", 1, 1), ("flow", 2, 2), ("len", 4, 2),
        ("next", 6, 1), ("hops", 7, 1), ("src", 8, 16), ("dst", 24, 16),
    ),
    "UDP": (("sport", 0, 2), ("dport", 2, 2), ("len", 4, 2), ("chksum", 6, 2)),
    "TCP": (
        ("sport", 0, 2), ("dport", 2, 2), ("seq", 4, 4), ("ack", 8, 4), ("offset", 12, 1),
        ("flags", 13, 1), ("window", 14, 2), ("chksum", 16, 2), ("urgent", 18, 2),
    ),
    "VXLAN": (("flags", 0, 1), ("reserved", 1, 3), ("vni", 4, 3), ("reserved2", 7, 1)),
    "ICMP": (("type", 0, 1), ("code", 1, 1), ("chksum", 2, 2), ("rest", 4, 4)),
    "ARP": (
        ("hardware", 0, 2), ("protocol", 2, 2), ("op", 6, 2), ("hwsrc", 8, 6), ("psrc", 14, 4),
        ("hwdst", 18, 6), ("pdst", 24, 4),
    ),
}  # fmt: skip

_OF_CLASS = {"Ether": "Ethernet", "Dot1Q": "802.1Q"}


@dataclass(frozen=True)
class Field:
    """Where a field lies, and what values are worth a try besides random ones."""

    name: str
    at: int
    size: int
    values: tuple[bytes, ...]


@dataclass(frozen=True)
class Template:
    """A frame, its fields, and the places that keep it whole when something changes (or -1).

    ``outer`` and ``inner`` are where an IP header starts, ``udp`` the outer one, ``layer4`` the
    inner; ``first`` is set on the first half of a pair that belongs together.
    """

    name: str
    data: bytes
    fields: tuple[Field, ...]
    outer: int = -1
    udp: int = -1
    ethernet: int = -1
    inner: int = -1
    layer4: int = -1
    protocol: int = 0
    number: int = -1
    ident: int = -1
    ident_size: int = 0
    first: bool = False
    weight: float = 1.0
    layers: tuple[tuple[str, int], ...] = field(default=())


def templates(lab: Lab, sizes: Sequence[int] = (SHORT,)) -> list[Template]:
    """The grammar's frames for a lab, with payloads of these sizes."""
    made = Grammar(lab)
    found = []
    for size in sizes:
        for name, packet, weight, first in made.frames(size):
            found.append(_template(f"{name} {size}", packet, lab, weight, first))
    return found


def layers(packet: Any) -> Iterator[tuple[str, int]]:
    """(scapy's name, place) of each header of a packet."""
    at = 0
    while packet:
        yield type(packet).__name__, at
        at, packet = at + len(packet) - len(packet.payload), packet.payload


def _template(name: str, packet: Any, lab: Lab, weight: float, first: bool) -> Template:
    data = bytes(packet)
    places: dict[str, int] = {}
    fields: list[Field] = []
    side, fragment, protocol = "outer", 0, 0
    for kind, at in layers(packet):
        for part, start, width in _SIZES.get(_kind(kind), ()):
            values = _values(lab, side, part, width)
            fields.append(Field(f"{side}.{_kind(kind)}.{part}", at + start, width, values))
        if kind in ("IP", "IPv6"):
            places.setdefault(f"{side} ip", at)
            if kind == "IP" and packet_field(data, at + 6) & 0x3FFF:
                fragment = at + 4
        elif kind == "IPv6ExtHdrFragment" and data[at + 2 : at + 4] != bytes(2):
            fragment = at + 4
        elif _kind(kind) in ("UDP", "TCP", "ICMP"):
            places.setdefault(f"{side} layer 4", at)
            protocol = {"UDP": 17, "TCP": 6}.get(kind, 1 if kind == "ICMP" else 58)
        elif kind == "VXLAN":
            places["tunnel"], side = at, "inner"
        if kind == "Ether" and side == "inner":
            places.setdefault("ethernet", at)
    tunnel = "tunnel" in places
    number = data.find(MAGIC)
    ident = 4 if fragment and data[fragment - 4 :][:1] != b"\x45" else 2
    return Template(
        name,
        data,
        tuple(fields),
        outer=places.get("outer ip", -1),
        udp=places.get("outer layer 4", -1) if tunnel else -1,
        ethernet=places.get("ethernet", -1),
        inner=places.get("inner ip", -1),
        layer4=-1 if fragment else places.get("inner layer 4", -1),
        protocol=protocol if "inner layer 4" in places else 0,
        number=number + len(MAGIC) if number >= 0 else -1,
        ident=fragment or -1,
        ident_size=ident if fragment else 0,
        first=first,
        weight=weight,
    )


def _kind(name: str) -> str:
    return "ICMP" if name.startswith("ICMPv6") else _OF_CLASS.get(name, name)


def _values(lab: Lab, side: str, part: str, width: int) -> tuple[bytes, ...]:
    """What is worth a try in a field."""
    named = _macs(lab, side) if width == 6 else _addresses(lab, side, width)
    most = (1 << 8 * width) - 1
    numbers = (*_NUMBERS.get(part, ()), 0, 1, most) if width < 4 else ()
    return (
        *named.get(part, ()),
        *(each.to_bytes(width, "big") for each in dict.fromkeys(numbers) if each <= most),
    )


_NUMBERS: Mapping[str, Sequence[int]] = {
    "type": (0x0800, 0x86DD, 0x0806, 0x8100, 0x88A8, 0x0600, 0x05DC),
    "version_ihl": (0x45, 0x46, 0x44, 0x4F, 0x55, 0x65),
    "frag": (0x4000, 0x2000, 0x8000, 0x0001, 0x1FFF, 0x6000),
    "proto": (1, 2, 4, 6, 17, 41, 47, 50, 58, 132, 136),
    "next": (6, 17, 43, 44, 50, 51, 58, 59, 60, 135),
    "sport": (7, 9, 10, 53, 4789),
    "dport": (7, 8, 9, 10, 53, 4789, 8472),
    "ttl": (2, 63, 64),
    "hops": (2, 63, 64),
    "vni": (41, 42, 43, 1 << 23),
    "offset": (0x50, 0x40, 0x60, 0xF0),
    "flags": (0x08, 0x88, 0x0C, 0x48, 0x18, 0x02, 0x10, 0x04, 0x12, 0x29),
    "len": (8, 20, 28, 40, 46),
}


def _macs(lab: Lab, side: str) -> Mapping[str, Sequence[bytes]]:
    """No frame comes from a container's own MAC: the bridge would learn that it has moved."""
    group = ("ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:05", "33:33:00:00:00:01", "01:80:c2:00:00:0e")
    strange = ("00:00:00:00:00:00", "02:00:00:00:99:99")
    ends = [end.mac for end in lab.endpoints]
    peers = [lab.endpoints[0].peer_mac, OTHER_MAC]
    to = [lab.nic_mac] if side == "outer" else [*ends, BRIDGE_MAC]
    source = [lab.wire_mac, lab.nic_mac] if side == "outer" else [*peers, BRIDGE_MAC]
    return {
        "dst": _packed_macs(*to, *group, *strange),
        "src": _packed_macs(*source, *group[:2], *strange),
        "hwsrc": _packed_macs(*peers, *strange),
        "hwdst": _packed_macs(*ends, *strange),
    }


def _packed_macs(*macs: str) -> list[bytes]:
    return [bytes.fromhex(mac.replace(":", "")) for mac in macs]


def _addresses(lab: Lab, side: str, width: int) -> Mapping[str, Sequence[bytes]]:
    version = {4: 4, 16: 6}.get(width)
    if version is None:
        return {}
    strange = {
        4: ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "203.0.113.9"],
        6: ["::", "::1", "ff02::1", "fe80::1", "2001:db8::9", "::ffff:198.18.0.1"],
    }[version]
    outer = {"src": lab.remote_vtep_ip, "dst": lab.vtep_ip}
    inner = {"src": lab.endpoints[0].peer_ip, "dst": lab.endpoints[-1].ip}
    known = outer if side == "outer" else inner
    near = [*known.values(), OTHER_VTEP[version]] if side == "outer" else list(known.values())
    packed = [
        ipaddress.ip_address(each).packed
        for each in (*near, *strange)
        if ipaddress.ip_address(each).version == version
    ]
    return dict.fromkeys(("src", "dst", "psrc", "pdst"), packed)
