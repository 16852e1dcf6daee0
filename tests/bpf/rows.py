"""Frames by the counter under which the NIC stage counts them; each says what is odd about it."""

from itertools import product

from frames import (
    BARE,
    BOX,
    BOX_MAC,
    DATAGRAM,
    ETHER,
    GATEWAY,
    HOST_MAC,
    IN4,
    IN6,
    INSIDE,
    NIC,
    ON4,
    ON6,
    OTHER_PORT,
    OURS,
    OUT4,
    OUT6,
    PEER_MAC,
    SEGMENT,
    STRANGER,
    SUMMED,
    THEIRS,
    TO4,
    TO_BOX4,
    TO_BOX6,
    VNI,
    VXLAN42,
    VXLAN43,
    damaged,
    over,
)
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NS,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import ARP, GRE, Dot1Q
from scapy.layers.sctp import SCTP
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet, Raw

Rows = list[tuple[str, Packet]]

UDP4, UDP6 = INSIDE[4], INSIDE[6]
GOOD4, GOOD6 = TO_BOX4 / UDP4, TO_BOX6 / UDP4
BARE42 = BARE / VXLAN42 / BOX
SUMMED42 = SUMMED / VXLAN42 / BOX
PADDED = Raw(bytes(BOX / UDP4) + bytes(9))
BROADCAST = "ff:ff:ff:ff:ff:ff"
NOOPS = [b"\x01" * 4]

STRIPPED: Rows = [
    *(
        (
            f"{on.lastlayer().name}, {udp.chksum}, {ip.name}, {layer4.name}",
            on / udp / VXLAN42 / BOX / ip / layer4,
        )
        for on, udp in ((ON4, BARE), (ON4, SUMMED), (ON6, SUMMED))
        for ip, layer4 in product((IN4, IN6), (DATAGRAM, SEGMENT))
    ),
    ("no payload", TO_BOX4 / IN4 / UDP(sport=1, dport=2)),
    ("as long as 1500 bytes allow", TO_BOX4 / IN4 / UDP() / bytes(1422)),
    ("odd length, summed", ON4 / SUMMED42 / IN4 / UDP(sport=1, dport=2) / b"odd"),
    ("odd length, summed, IPv6", TO_BOX6 / IN6 / UDP(sport=1, dport=2) / b"odd"),
    ("inner UDP without a checksum", TO_BOX4 / IN4 / UDP(chksum=0) / b"x"),
    ("padding behind the inner packet", TO4 / PADDED),
    ("SYN", TO_BOX4 / IN4 / over(SEGMENT, flags="S")),
    ("don't fragment", ETHER / over(OUT4, flags="DF") / BARE42 / over(IN4, flags="DF") / DATAGRAM),
    ("TTL 0 outside, 1 inside", ETHER / over(OUT4, ttl=0) / BARE42 / over(IN4, ttl=1) / DATAGRAM),
    ("DSCP and flow label", ETHER / over(OUT6, tc=0xB8, fl=5) / SUMMED42 / UDP4),
    ("another UDP source port", ON4 / over(BARE42, sport=1) / UDP4),
    ("another gateway", over(ETHER, src="02:ff:ff:ff:ff:ff") / OUT4 / BARE42 / UDP4),
    ("a checksum that the container checks", TO_BOX4 / over(IN4, chksum=1) / DATAGRAM),
    ("a length that the container checks", TO_BOX4 / over(IN4, len=9) / DATAGRAM),
    # The outer checksum is compared by headers alone: what the inner one covers is left to it.
    ("damaged inner source", damaged(GOOD6, 70 + 14 + 15)),
    ("damaged inner port", damaged(GOOD6, 70 + 14 + 20)),
    ("damaged payload", damaged(GOOD6, len(GOOD6) - 1)),
    ("bare IPv6, taken", ON6 / BARE / VXLAN43 / over(BOX, dst=HOST_MAC) / UDP6),
    ("summed IPv6 where bare is taken", ON6 / SUMMED / VXLAN43 / over(BOX, dst=HOST_MAC) / UDP4),
]

OTHER: Rows = [
    ("ARP", ETHER / ARP(op=1, pdst=OURS[4], psrc=THEIRS[4])),
    ("ARP, broadcast", over(ETHER, dst=BROADCAST) / ARP(op=1, pdst=OURS[4])),
    ("IPv6 neighbour discovery", ETHER / over(OUT6, hlim=255) / ICMPv6ND_NS(tgt=OURS[6])),
    ("ping", ON4 / ICMP()),
    ("ping, IPv6", ON6 / ICMPv6EchoRequest()),
    ("TCP", ON4 / SEGMENT),
    ("TCP, IPv6", ON6 / SEGMENT),
    ("GRE", ON4 / GRE() / UDP4),
    ("IP in IP", ON4 / UDP4),
    ("VLAN", ETHER / Dot1Q(vlan=5) / OUT4 / BARE42 / UDP4),
    ("two VLANs", ETHER / Dot1Q(vlan=5, type=0x8100) / Dot1Q(vlan=6) / OUT4 / BARE42 / UDP4),
    ("broadcast", over(ETHER, dst=BROADCAST) / OUT4 / BARE42 / UDP4),
    ("multicast", over(ETHER, dst="01:00:5e:00:00:01") / OUT4 / BARE42 / UDP4),
    ("another host's MAC", over(ETHER, dst=GATEWAY) / OUT4 / BARE42 / UDP4),
    ("a bare frame for the container", over(ETHER, dst=BOX_MAC) / UDP4),
    ("unknown protocol", over(ETHER, type=0x88CC) / Raw(bytes(50))),
    ("IEEE 802.3 length", over(ETHER, type=46) / Raw(bytes(46))),
    ("IPv4 that calls itself IPv6", over(ETHER, type=0x86DD) / OUT4 / BARE42 / UDP4),
]

FRAGMENT: Rows = [
    ("first", ETHER / over(OUT4, flags="MF") / BARE42 / UDP4),
    ("last", ETHER / over(OUT4, frag=10) / BARE42 / UDP4),
    ("middle", ETHER / over(OUT4, flags="MF", frag=8191) / BARE42 / UDP4),
    ("IPv6", ON6 / IPv6ExtHdrFragment(m=1) / SUMMED42 / UDP4),
    ("IPv6, atomic", ON6 / IPv6ExtHdrFragment() / SUMMED42 / UDP4),
    ("inside, first", TO_BOX4 / over(IN4, flags="MF") / DATAGRAM),
    ("inside, last", TO_BOX4 / over(IN4, frag=1) / DATAGRAM),
    ("inside, IPv6", TO_BOX4 / IN6 / IPv6ExtHdrFragment(m=1) / DATAGRAM),
]

OPTIONS: Rows = [
    ("outside", ETHER / over(OUT4, options=NOOPS) / BARE42 / UDP4),
    ("header shorter than possible", ETHER / over(OUT4, ihl=4) / BARE42 / UDP4),
    ("IPv6 that calls itself IPv4", over(ETHER, type=0x0800) / OUT6 / SUMMED42 / UDP4),
    ("hop by hop", ON6 / IPv6ExtHdrHopByHop() / SUMMED42 / UDP4),
    ("routing", ON6 / IPv6ExtHdrRouting() / SUMMED42 / UDP4),
    ("destination", ON6 / IPv6ExtHdrDestOpt() / SUMMED42 / UDP4),
    ("inside", TO_BOX4 / over(IN4, options=NOOPS) / DATAGRAM),
    ("inside, hop by hop", TO_BOX4 / IN6 / IPv6ExtHdrHopByHop() / DATAGRAM),
    ("inside, IPv6 as IPv4", TO4 / over(BOX, type=0x0800) / UDP6),
]

LENGTH: Rows = [
    ("one byte too many", Raw(bytes(GOOD4) + b"x")),
    ("one byte too few", Raw(bytes(GOOD4)[:-1])),
    ("IPv6, one byte too many", Raw(bytes(GOOD6) + b"x")),
    ("IPv6, one byte too few", Raw(bytes(GOOD6)[:-1])),
    *(
        (f"IP says {by:+}", ETHER / over(OUT4, len=len(GOOD4) - 14 + by) / BARE42 / UDP4)
        for by in (-1, 1, -82, 999)
    ),
    *(
        (f"IPv6 says {by:+}", ETHER / over(OUT6, plen=len(GOOD6) - 54 + by) / SUMMED42 / UDP4)
        for by in (-1, 1)
    ),
    *(
        (f"UDP says {by:+}", ON4 / over(BARE42, len=len(GOOD4) - 34 + by) / UDP4)
        for by in (-1, 1, -70)
    ),
    ("no UDP header", ETHER / over(OUT4, proto=17)),
    ("half a UDP header", ETHER / over(OUT4, proto=17) / b"four"),
    ("half a VXLAN header", ON4 / BARE / b"seven.."),
    ("an empty datagram", ON6 / SUMMED),
    ("no inner frame", TO4),
    ("half an inner MAC", TO4 / b"three"),
    ("no inner IP header", TO4 / over(BOX, type=0x0800)),
    ("half an inner IP header", TO4 / over(BOX, type=0x0800) / bytes(IN4)[:19]),
    ("half an inner IPv6 header", TO4 / over(BOX, type=0x86DD) / bytes(39)),
    ("no inner UDP header", TO_BOX4 / over(IN4, proto=17)),
    ("half an inner UDP header", TO_BOX4 / over(IN4, proto=17) / b"seven.."),
    ("half an inner TCP header", TO_BOX4 / over(IN4, proto=6) / bytes(19)),
]

FLAGS: Rows = [
    ("DNS", ON4 / UDP(sport=53, dport=1234) / bytes(50)),
    ("no VNI", ON4 / BARE / VXLAN(flags=0, vni=VNI) / BOX / UDP4),
    ("group policy", ON4 / BARE / VXLAN(flags=0x88, vni=VNI) / BOX / UDP4),
    *(
        (f"reserved bit {bit}", damaged(GOOD4, 42 + bit // 8, 0x80 >> bit % 8))
        for bit in (*range(4), *range(5, 32), *range(56, 64))
    ),
]

CHECKSUM: Rows = [
    ("outer IP", ETHER / over(OUT4, chksum=1) / BARE42 / UDP4),
    ("outer UDP", ON4 / over(BARE42, chksum=1) / UDP4),
    ("outer UDP, IPv6", ON6 / over(SUMMED42, chksum=1) / UDP4),
    ("summed outside only", ON4 / SUMMED42 / IN4 / UDP(chksum=0) / b"x"),
    ("summed, padding behind the inner packet", ON4 / SUMMED / VXLAN42 / PADDED),
    *(
        (f"damaged {what}", damaged(GOOD6, offset))
        for what, offset in {
            "UDP source port": 54,
            "inner MAC": 70 + 11,
            "inner identification": 70 + 14 + 5,
        }.items()
    ),
]

TUNNEL: Rows = [
    ("unknown VNI", ON4 / BARE / over(VXLAN42, vni=VNI << 8) / BOX / UDP4),
    ("unknown VNI, IPv6", ON6 / SUMMED / over(VXLAN42, vni=0xFFFFFF) / BOX / UDP4),
    ("unknown port", ON4 / over(BARE42, dport=4790) / UDP4),
    ("not our address", ETHER / over(OUT4, dst=STRANGER[4]) / BARE42 / UDP4),
    ("not our address, IPv6", ETHER / over(OUT6, dst=STRANGER[6]) / SUMMED42 / UDP4),
    ("unknown VTEP", ETHER / over(OUT4, src=STRANGER[4]) / BARE42 / UDP4),
    ("unknown VTEP, IPv6", ETHER / over(OUT6, src=STRANGER[6]) / SUMMED42 / UDP4),
    ("the other way round", ETHER / over(OUT4, src=OURS[4], dst=THEIRS[4]) / BARE42 / UDP4),
    ("bare IPv6", ON6 / BARE42 / UDP4),
]

ENDPOINT: Rows = [
    ("known behind another port", ON4 / over(BARE42, dport=OTHER_PORT) / UDP4),
    *(
        (what, TO4 / over(BOX, dst=mac) / UDP4)
        for what, mac in {
            "unknown": PEER_MAC,
            "known behind another VNI": HOST_MAC,
            "broadcast": BROADCAST,
            "multicast": "01:00:5e:01:01:01",
            "the NIC's own": NIC,
        }.items()
    ),
]

INNER: Rows = [
    ("ping", TO_BOX4 / IN4 / ICMP()),
    ("ping, IPv6", TO_BOX4 / IN6 / ICMPv6EchoRequest()),
    ("neighbour discovery", TO_BOX4 / IN6 / ICMPv6ND_NS(tgt="fd00::1")),
    ("ARP", TO_BOX4 / ARP()),
    ("VLAN", TO_BOX4 / Dot1Q(vlan=1) / UDP4),
    ("SCTP", TO_BOX4 / IN4 / SCTP()),
    ("IP in IP", TO_BOX4 / IN4 / IP() / DATAGRAM),
    ("IPv4 as IPv6", TO4 / over(BOX, type=0x86DD) / UDP4 / bytes(20)),
    ("from a group", TO4 / over(BOX, src="03:00:00:00:00:01") / UDP4),
    ("from nobody", TO4 / over(BOX, src="00:00:00:00:00:00") / UDP4),
]

PASSED = {
    "pass_other": OTHER,
    "pass_fragment": FRAGMENT,
    "pass_options": OPTIONS,
    "pass_length": LENGTH,
    "pass_flags": FLAGS,
    "pass_checksum": CHECKSUM,
    "pass_tunnel": TUNNEL,
    "pass_endpoint": ENDPOINT,
    "pass_inner": INNER,
}
