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
_ETHERNET = 14
_PLAIN: dict[str, Any] = {"flags": "DF", "id": 0, "ttl": 64}


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


def build(plan: Plan, payload: int) -> Frame:
    """A UDP datagram for the first sink of the lab, in VXLAN where that has a tunnel; ``payload`` in bytes.

    In the tunnel it is from the other host's container. The outer checksum is 0, as Docker's is.

    BadInput where the datagram does not fit the lab's MTU.
    """
    # Only what builds: scapy.all would look at every interface of the machine.
    from scapy.layers.inet import IP, UDP
    from scapy.layers.l2 import Ether

    body = bytes(SMALLEST) + bytes(at & 0xFF for at in range(payload - SMALLEST))
    underlay = Ether(dst=plan.nic_mac, src=plan.wire_mac) / IP(src=plan.wire_ip, dst=plan.nic_ip, **_PLAIN)
    outer = b""
    inner: Any = underlay
    if plan.has_tunnel:
        mac, ip = plan.receiver
        inner = Ether(dst=mac, src=plan.peer_mac) / IP(src=plan.peer_ip, dst=ip, **_PLAIN)
    data = bytearray(bytes(inner / UDP(sport=0, dport=SINK_PORT) / body))
    at = len(data) - payload
    # scapy has put in the complement of the sum that we want: take it out again.
    (check,) = struct.unpack_from("=H", data, at - 2)
    struct.pack_into("=H", data, at - 2, 0)
    if plan.has_tunnel:
        vxlan = struct.pack(">II", VXLAN_HAS_VNI, plan.vni << 8)
        tunnel = underlay / UDP(sport=0, dport=plan.port, chksum=0) / vxlan
        outer = bytes(tunnel / bytes(data))[: -len(data)]
    spare = min(_ETHERNET + plan.inner_mtu - len(data), LARGEST_FRAME - len(outer) - len(data))
    if spare < 0:
        least = f"payload {payload} does not fit a frame, or an MTU of {plan.inner_mtu}"
        raise BadInput(f"{least}: choose {payload + spare} or less")
    return Frame(outer + bytes(data), len(outer) + at, len(outer), ~check & 0xFFFF)
