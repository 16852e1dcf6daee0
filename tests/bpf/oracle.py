"""What should become of a frame, worked out without a look at the C: from the RFCs, on plain bytes.

RFC 791 and 8200 (IP), 768 (UDP), 7348 (VXLAN), 6040 (congestion marks), and the addresses that the
maps were filled with. Where a frame ends too soon `struct` raises, and that is a refusal too.
"""

import struct
from dataclasses import dataclass
from ipaddress import ip_address

from frames import BARE_VNI, BOX_MAC, HOST_MAC, NIC, OURS, PORT, THEIRS, VETH_MAC, VNI

NOT_ECT, ECT1, ECT0, CE = 0, 1, 2, 3
ARRIVING_OUTER = (NOT_ECT, ECT0, ECT1, CE)
MARKS: dict[int, tuple[int | None, ...]] = {
    NOT_ECT: (NOT_ECT, NOT_ECT, NOT_ECT, None),
    ECT0: (ECT0, ECT0, ECT1, CE),
    ECT1: (ECT1, ECT1, ECT1, CE),
    CE: (CE, CE, CE, CE),
}
"""RFC 6040, figure 4: arriving inner mark -> outgoing mark for each outer one; None: drop."""

_IPV4, _IPV6, _TCP, _UDP = 0x0800, 0x86DD, 6, 17


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


_CONTAINERS = {
    (VNI, _mac(BOX_MAC)),
    (VNI, _mac(VETH_MAC)),
    (BARE_VNI, _mac(HOST_MAC)),
}
_PATHS = {
    (ip_address(OURS[version]).packed, ip_address(THEIRS[version]).packed) for version in (4, 6)
}


class Refused(Exception):
    """Not ours: for the stock stack."""


@dataclass(frozen=True)
class Ip:
    """An IP header: `size` bytes, then `length` bytes of `protocol`."""

    version: int
    size: int
    length: int
    protocol: int
    mark: int
    source: bytes
    target: bytes

    @property
    def pseudo(self) -> bytes:
        """The pseudo-header of layer 4."""
        layer4 = struct.pack("!HH", self.protocol, self.length & 0xFFFF)
        return self.source + self.target + layer4


def out_of(frame: bytes) -> bytes | None:
    """The frame that the container is to get, or None where the frame is for the stock stack."""
    try:
        return _decapsulated(frame)
    except (Refused, struct.error):
        return None


def _decapsulated(frame: bytes) -> bytes:
    to, _, kind = struct.unpack_from("!6s6sH", frame)
    _need(to == _mac(NIC))
    outer = _read_ip(kind, frame[14:])
    _need(outer.protocol == _UDP and 14 + outer.size + outer.length == len(frame))
    _need(outer.version == 6 or _sum(frame[14:34]) == 0)
    datagram = frame[14 + outer.size :]
    port, length, check, flags, vni = struct.unpack_from("!2xHHHII", datagram)
    _need(length == len(datagram) and flags == 0x08000000 and vni & 0xFF == 0)
    inner = datagram[16:]

    to, source, kind = struct.unpack_from("!6s6sH", inner)
    _need(not source[0] & 1 and any(source))
    ip = _read_ip(kind, inner[14:])
    layer4 = inner[14 + ip.size :]
    _need(ip.protocol in (_UDP, _TCP))
    struct.unpack_from("!20x" if ip.protocol == _TCP else "!8x", layer4)

    _need((outer.target, outer.source) in _PATHS)
    _need(port == PORT and (vni >> 8, to) in _CONTAINERS)
    if check:
        _need(ip.protocol == _TCP or layer4[6:8] != b"\0\0")
        _need(len(layer4) == ip.length)
        # Off by as much as the inner one is: right, provided that the inner one is.
        _need(_sum(outer.pseudo + datagram) == _sum(ip.pseudo + layer4))
    else:
        _need(outer.version == 4 or vni >> 8 == BARE_VNI)
    mark = MARKS[ip.mark][ARRIVING_OUTER.index(outer.mark)]
    if mark is None:
        raise Refused
    return _marked(inner, ip.version, mark)


def _read_ip(kind: int, packet: bytes) -> Ip:
    """A header without options, extensions or fragmentation."""
    if kind == _IPV4:
        first, tos, total, fragment, protocol = struct.unpack_from("!BBH2xHxB2x", packet)
        source, target = struct.unpack_from("!12x4s4s", packet)
        _need(first == 0x45 and fragment & 0x3FFF == 0)
        return Ip(4, 20, total - 20, protocol, tos & 3, source, target)
    _need(kind == _IPV6)
    first, length, protocol, source, target = struct.unpack_from("!IHBx16s16s", packet)
    _need(first >> 28 == 6)
    return Ip(6, 40, length, protocol, first >> 20 & 3, source, target)


def _marked(frame: bytes, version: int, mark: int) -> bytes:
    raw = bytearray(frame)
    if version == 6:
        raw[15] = raw[15] & ~0x30 | mark << 4
        return bytes(raw)
    before, raw[15] = raw[15], raw[15] & ~3 | mark
    if before != raw[15]:
        (check,) = struct.unpack_from("!H", raw, 24)
        struct.pack_into("!H", raw, 24, (check + before - raw[15]) % 0xFFFF)
    return bytes(raw)


def _sum(data: bytes) -> int:
    """The ones' complement sum, as a remainder: 0 where a checksum in it is right."""
    words = data + b"\0" * (len(data) % 2)
    return sum(struct.unpack(f"!{len(words) // 2}H", words)) % 0xFFFF


def _need(fact: bool) -> None:
    if not fact:
        raise Refused
