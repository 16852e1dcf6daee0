"""The frame that the wire repeats: what stays the same of it, and what its checksum starts from."""

import struct
from dataclasses import dataclass
from typing import Any

from bench.lab_plan import Plan
from bench.traffic import LARGEST_FRAME, SMALLEST
from steering.errors import BadInput

SINK_PORT = 9999
FIRST_PORT = 20000
"""UDP source port of flow 0; the others follow."""
OUTER_PORT = 49152
"""Outer UDP source port of flow 0, from the range that RFC 7348 (section 5) wants; the others follow."""


VXLAN_HAS_VNI = 0x08000000
"""The I flag, alone (RFC 7348, section 5)."""
_ETHERNET, _VXLAN = 14, 8
_PLAIN: dict[int, dict[str, Any]] = {4: {"flags": "DF", "id": 0, "ttl": 64}, 6: {"hlim": 64}}


@dataclass(frozen=True)
class Frame:
    """One datagram, with zeros for source ports, checksum and stamp."""

    data: bytes
    header_bytes: int
    """Length of all headers: the payload begins there, with the stamp."""
    inner: int
    """Where the inner frame begins: the length of the tunnel's headers, or 0."""
    sum: int
    """Ones' complement sum, in the machine's byte order, of all that the UDP checksum covers."""
    version: int = 4
    """Of the IP packet that holds the datagram."""
    outer_sum: int = 0
    """As ``sum``, of the tunnel's UDP; 0: that has no checksum."""

    @property
    def checked(self) -> bytes:
        """The data with checksums in it: one that is right without a wire."""
        data = bytearray(self.data)
        struct.pack_into("=H", data, self.header_bytes - 2, _check_of(self.sum))
        if self.outer_sum:
            struct.pack_into("=H", data, self.inner - _VXLAN - 2, _check_of(self.outer_sum))
        return bytes(data)


def build(plan: Plan, payload: int) -> Frame:
    """A UDP datagram for the first sink of the lab, in VXLAN where that has a tunnel; ``payload`` in bytes.

    In the tunnel it is from the other host's container. The outer checksum is 0 over IPv4, as Docker's is;
    over IPv6 there is one: Linux sends it, and asks for it, unless it is told otherwise.

    BadInput where the datagram does not fit the lab's MTU.
    """
    # Only what builds: scapy.all would look at every interface of the machine.
    from scapy.layers.inet import IP, UDP
    from scapy.layers.inet6 import IPv6
    from scapy.layers.l2 import Ether

    def ip(version: int, src: str, dst: str) -> Any:
        return {4: IP, 6: IPv6}[version](src=src, dst=dst, **_PLAIN[version])

    body = bytes(SMALLEST) + bytes(at & 0xFF for at in range(payload - SMALLEST))
    underlay = Ether(dst=plan.nic_mac, src=plan.wire_mac) / ip(plan.underlay, plan.wire_ip, plan.nic_ip)
    inner = underlay
    if plan.has_tunnel:
        mac, address = plan.receiver
        inner = Ether(dst=mac, src=plan.peer_mac) / ip(plan.inner, plan.peer_ip, address)
    data = bytes(inner / UDP(sport=0, dport=SINK_PORT) / body)
    spare, at, outer_sum = _ETHERNET + plan.inner_mtu - len(data), 0, 0
    if plan.has_tunnel:
        vxlan = struct.pack(">II", VXLAN_HAS_VNI, plan.vni << 8)
        none = {"chksum": 0} if plan.outer == 4 else {}
        tunnelled = bytes(underlay / UDP(sport=0, dport=plan.port, **none) / vxlan / data)
        at, data = len(tunnelled) - len(data), tunnelled
        if not none:
            data, outer_sum = _without_check(data, at - _VXLAN)
    spare = min(spare, LARGEST_FRAME - len(data))
    if spare < 0:
        least = f"payload {payload} does not fit a frame, or an MTU of {plan.inner_mtu}"
        raise BadInput(f"{least}: choose {payload + spare} or less")
    data, inner_sum = _without_check(data, len(data) - payload)
    return Frame(data, len(data) - payload, at, inner_sum, plan.inner, outer_sum)


def _without_check(data: bytes, end: int) -> tuple[bytes, int]:
    """With zeros for the checksum of the UDP header that ends there, and the sum that it told."""
    (check,) = struct.unpack_from("=H", data, end - 2)
    return data[: end - 2] + bytes(2) + data[end:], ~check & 0xFFFF


def _check_of(total: int) -> int:
    """Of that sum; 0 would say that there is none (RFC 768)."""
    return ~total & 0xFFFF or 0xFFFF
