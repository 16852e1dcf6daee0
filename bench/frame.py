"""The frame that the wire repeats: what stays the same of it, and what its checksum starts from."""

import struct
from dataclasses import dataclass

from bench.lab_build import Plan
from bench.traffic import SMALLEST

SINK_PORT = 9999
FIRST_PORT = 20000
"""UDP source port of flow 0; the others follow."""


@dataclass(frozen=True)
class Frame:
    """One datagram, with zeros for source port, checksum and stamp."""

    data: bytes
    header_bytes: int
    """Length of all headers: the payload begins there, with the stamp."""
    sum: int
    """Ones' complement sum, in the machine's byte order, of all that the UDP checksum covers."""


def native(plan: Plan, payload: int) -> Frame:
    """A bare UDP datagram from the wire to the NIC's own address; ``payload`` in bytes (`Traffic`)."""
    # Only what builds: scapy.all would look at every interface of the machine.
    from scapy.layers.inet import IP, UDP
    from scapy.layers.l2 import Ether

    body = bytes(SMALLEST) + bytes(at & 0xFF for at in range(payload - SMALLEST))
    headers = (
        Ether(dst=plan.nic_mac, src=plan.wire_mac)
        / IP(src=plan.wire_ip, dst=plan.nic_ip, flags="DF", id=0, ttl=64)
        / UDP(sport=0, dport=SINK_PORT)
    )
    data = bytearray(bytes(headers / body))
    at = len(data) - payload
    # scapy has put in the complement of the sum that we want: take it out again.
    (check,) = struct.unpack_from("=H", data, at - 2)
    struct.pack_into("=H", data, at - 2, 0)
    return Frame(bytes(data), at, ~check & 0xFFFF)
