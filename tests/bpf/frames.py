"""Headers that test frames are put together from: `ON4 / BARE / VXLAN42 / BOX / IN4 / DATAGRAM`.

Ours are the NIC, its VTEP addresses and three containers, one for each delivery; theirs is what
sends.
"""

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet, Raw

NIC, GATEWAY = "02:00:00:00:00:01", "02:00:00:00:00:02"
OURS = {4: "192.0.2.1", 6: "2001:db8::1"}
THEIRS = {4: "192.0.2.2", 6: "2001:db8::2"}
STRANGER = {4: "192.0.2.3", 6: "2001:db8::3"}
VNI, PORT, OTHER_PORT = 42, 4789, 8472
"""Two networks of one VNI differ by their UDP port."""
BARE_VNI = 43
"""The same VTEPs, but this tunnel takes outer IPv6 without a UDP checksum."""
PEER_MAC = "02:00:00:00:02:01"
BOX_MAC, VETH_MAC, HOST_MAC = "02:00:00:00:01:01", "02:00:00:00:01:02", "02:00:00:00:01:03"
"""Reached by the deliveries peer, veth (both behind VNI 42) and ingress (VNI 43)."""

ETHER = Ether(dst=NIC, src=GATEWAY)
OUT4, OUT6 = IP(dst=OURS[4], src=THEIRS[4], ttl=9, id=7), IPv6(dst=OURS[6], src=THEIRS[6], hlim=9)
ON4, ON6 = ETHER / OUT4, ETHER / OUT6
BARE, SUMMED = UDP(sport=55555, dport=PORT, chksum=0), UDP(sport=55555, dport=PORT)
VXLAN42 = VXLAN(flags="Instance", vni=VNI)
VXLAN43 = VXLAN(flags="Instance", vni=BARE_VNI)
BOX = Ether(dst=BOX_MAC, src=PEER_MAC)
IN4, IN6 = IP(dst="10.0.0.1", src="10.0.0.2", ttl=3, id=11), IPv6(dst="fd00::1", src="fd00::2")
DATAGRAM = UDP(sport=1000, dport=2000) / b"eighteen bytes are"
SEGMENT = TCP(sport=1000, dport=2000, seq=1, ack=2, flags="PA") / b"segment"

# As stock sends it: no UDP checksum over IPv4, and a right one over IPv6.
TO4, TO6 = ON4 / BARE / VXLAN42, ON6 / SUMMED / VXLAN42
TO_BOX4, TO_BOX6 = TO4 / BOX, TO6 / BOX
OUTSIDE = {4: TO_BOX4, 6: TO_BOX6}
INSIDE = {4: IN4 / DATAGRAM, 6: IN6 / DATAGRAM}


def over(header: Packet, **fields: object) -> Packet:
    """The header with other values in some of its fields."""
    changed = header.copy()
    for name, value in fields.items():
        changed.setfieldval(name, value)
    return changed


def damaged(frame: Packet, offset: int, bits: int = 1) -> Raw:
    """The frame with some bits of one byte turned over."""
    raw = bytearray(bytes(frame))
    raw[offset] ^= bits
    return Raw(bytes(raw))


def inner_of(frame: Packet) -> bytes:
    """The frame inside a tunnel whose outer headers are whole."""
    return bytes(frame)[50 if bytes(frame)[12:14] == b"\x08\x00" else 70 :]
