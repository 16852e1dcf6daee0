"""What the NIC stage takes the tunnel off, and what it leaves alone. Scapy builds the frames, and judges."""

import struct
from collections.abc import Iterator

import pytest
from frames import SECRET, STRIPPED, Nic, but
from ground import planned
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption, in4_chksum
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet
from scapy.utils import checksum

from bench.cost import route_of
from bench.lab_plan import Plan as LabPlan
from steering.unit import Unit

LAB = LabPlan("flannel")
POD = LAB.containers[0]
ROUTE = route_of(LAB)

LINK = Ether(dst=LAB.nic_mac, src=LAB.wire_mac)
OUTER = IP(dst=LAB.nic_ip, src=LAB.wire_ip, flags="DF")
TUNNEL = UDP(sport=49152, dport=LAB.port, chksum=0)
SUMMED = UDP(sport=49152, dport=LAB.port)  # scapy fills in what is right
HAS_VNI = 0x08000000
VXLAN = struct.pack(">II", HAS_VNI, LAB.vni << 8)
BEGIN = LINK / OUTER / TUNNEL / VXLAN

INSIDE = Ether(dst=POD.mac, src=LAB.peer_mac)
INNER = IP(dst=POD.ip, src=LAB.peer_ip)
DATAGRAM = UDP(sport=4000, dport=9999)
SEGMENT = TCP(sport=4000, dport=9999, flags="A")
PACKET = INSIDE / INNER / DATAGRAM / b"payload"
OUTER_BYTES, HEADERS = 50, 92
OPTION = IPOption(b"\x01" * 4)  # no operation


def vxlan(flags: int = HAS_VNI, vni: int = LAB.vni, reserved: int = 0) -> bytes:
    return struct.pack(">II", flags, vni << 8 | reserved)


def mended(frame: bytes) -> bytes:
    """With outer lengths and IP checksum that are right for what there is."""
    data = bytearray(frame)
    struct.pack_into(">H", data, 16, len(data) - 14)
    struct.pack_into(">H", data, 38, len(data) - 34)
    struct.pack_into(">H", data, 24, 0)
    struct.pack_into(">H", data, 24, checksum(bytes(data[14:34])))
    return bytes(data)


def sum_is_right(frame: bytes) -> bool:
    return bool(in4_chksum(17, IP(frame[14:34]), frame[34:]) in (0, 0xFFFF))


@pytest.fixture(scope="module")
def nic() -> Iterator[Nic]:
    with Unit(planned("local", deliver="peer"), SECRET) as unit:
        unit.serve(unit.plan, LAB.nic_mac)
        unit.route([ROUTE])
        yield Nic(unit, ROUTE)


TAKEN: dict[str, Packet] = {
    "as Docker sends it": BEGIN / PACKET,
    "outer DSCP and a low TTL": LINK / but(OUTER, tos=0xB8, ttl=1) / TUNNEL / VXLAN / PACKET,
    "outer may be fragmented": LINK / but(OUTER, flags=0, id=7) / TUNNEL / VXLAN / PACKET,
    "outer source port 0": LINK / OUTER / but(TUNNEL, sport=0) / VXLAN / PACKET,
    "outer checksum": LINK / OUTER / SUMMED / VXLAN / PACKET,
    "inner without a checksum": BEGIN / INSIDE / INNER / but(DATAGRAM, chksum=0) / b"payload",
    "inner with a wrong one": BEGIN / INSIDE / INNER / but(DATAGRAM, chksum=1) / b"payload",
    "inner without payload": BEGIN / INSIDE / INNER / DATAGRAM,
    "inner TCP": BEGIN / INSIDE / INNER / SEGMENT,
    "inner TCP with options": BEGIN / INSIDE / INNER / but(SEGMENT, options=[("Timestamp", (1, 2))]) / b"xyz",
    "inner padding": BEGIN / (bytes(PACKET) + bytes(18)),
    "inner of the MTU": BEGIN / INSIDE / INNER / DATAGRAM / bytes(LAB.inner_mtu - 28),
}


@pytest.mark.parametrize("frame", TAKEN.values(), ids=[*TAKEN])
def test_what_is_proven_is_stripped(nic: Nic, frame: Packet) -> None:
    assert nic(frame) == (STRIPPED, bytes(frame)[OUTER_BYTES:])


LEFT: dict[str, tuple[str, Packet | bytes]] = {
    "to another MAC": ("other", but(LINK, dst="02:00:00:00:00:03") / OUTER / TUNNEL / VXLAN / PACKET),
    "broadcast": ("other", but(LINK, dst="ff:ff:ff:ff:ff:ff") / OUTER / TUNNEL / VXLAN / PACKET),
    "no tunnel": ("other", PACKET),
    "ARP": ("other", LINK / ARP()),
    "outer IPv6 of nobody": ("unknown", LINK / IPv6(src="fd00::1", dst="fd00::2") / TUNNEL / VXLAN / PACKET),
    "outer TCP": ("other", LINK / OUTER / TCP(dport=LAB.port) / bytes(60)),
    "outer ICMP": ("other", LINK / OUTER / ICMP() / bytes(60)),
    "outer VID 0": ("vlan", LINK / Dot1Q(vlan=0) / OUTER / TUNNEL / VXLAN / PACKET),
    "outer VID 100": ("vlan", LINK / Dot1Q(vlan=100) / OUTER / TUNNEL / VXLAN / PACKET),
    "from the tunnel device itself": ("inner", BEGIN / but(INSIDE, src=LAB.tunnel_mac) / INNER / DATAGRAM),
    "outer first fragment": ("fragment", LINK / but(OUTER, flags="MF") / TUNNEL / VXLAN / PACKET),
    "outer later fragment": ("fragment", LINK / but(OUTER, flags=0, frag=9) / TUNNEL / VXLAN / PACKET),
    "inner first fragment": ("fragment", BEGIN / INSIDE / but(INNER, flags="MF") / DATAGRAM / bytes(8)),
    "inner later fragment": ("fragment", BEGIN / INSIDE / but(INNER, frag=2, proto=17) / bytes(16)),
    "outer options": ("options", LINK / but(OUTER, options=[OPTION]) / TUNNEL / VXLAN / PACKET),
    "inner options": ("options", BEGIN / INSIDE / but(INNER, options=[OPTION]) / DATAGRAM),
    "outer IP version 6 in type IPv4": ("options", LINK / but(OUTER, version=6) / TUNNEL / VXLAN / PACKET),
    "outer IP length too small": ("length", LINK / but(OUTER, len=60) / TUNNEL / VXLAN / PACKET),
    "outer IP length too large": ("length", LINK / but(OUTER, len=600) / TUNNEL / VXLAN / PACKET),
    "outer UDP length too small": ("length", LINK / OUTER / but(TUNNEL, len=40) / VXLAN / PACKET),
    "outer UDP length too large": ("length", LINK / OUTER / but(TUNNEL, len=400) / VXLAN / PACKET),
    "bytes behind the outer packet": ("length", bytes(BEGIN / PACKET) + bytes(4)),
    "nothing in the tunnel": ("length", BEGIN),
    "inner of one byte more than the MTU": (
        "length",
        BEGIN / INSIDE / INNER / DATAGRAM / bytes(LAB.inner_mtu - 27),
    ),
    "no VNI": ("flags", LINK / OUTER / TUNNEL / vxlan(0) / PACKET),
    "a reserved flag before": ("flags", LINK / OUTER / TUNNEL / vxlan(0x88000000) / PACKET),
    "a reserved flag behind": ("flags", LINK / OUTER / TUNNEL / vxlan(0x0C000000) / PACKET),
    "a reserved bit before the VNI": ("flags", LINK / OUTER / TUNNEL / vxlan(0x08000001) / PACKET),
    "a reserved bit behind the VNI": ("flags", LINK / OUTER / TUNNEL / vxlan(reserved=1) / PACKET),
    "wrong outer IP checksum": ("checksum", LINK / but(OUTER, chksum=1) / TUNNEL / VXLAN / PACKET),
    "wrong outer checksum": ("checksum", LINK / OUTER / but(TUNNEL, chksum=1) / VXLAN / PACKET),
    "outer checksum, inner without": (
        "checksum",
        LINK / OUTER / SUMMED / VXLAN / INSIDE / INNER / but(DATAGRAM, chksum=0) / b"payload",
    ),
    "outer checksum, inner wrong": (
        "checksum",
        LINK / OUTER / SUMMED / VXLAN / INSIDE / INNER / but(DATAGRAM, chksum=1) / b"payload",
    ),
    "outer checksum, inner padding": (
        "checksum",
        LINK / OUTER / SUMMED / VXLAN / (bytes(PACKET) + bytes(18)),
    ),
    "inner VID 0": ("vlan", BEGIN / INSIDE / Dot1Q(vlan=0) / INNER / DATAGRAM),
    "inner VID 100": ("vlan", BEGIN / INSIDE / Dot1Q(vlan=100) / INNER / DATAGRAM),
    "inner ARP": ("inner", BEGIN / INSIDE / ARP()),
    "inner ICMP": ("inner", BEGIN / INSIDE / INNER / ICMP()),
    "inner SCTP": ("inner", BEGIN / INSIDE / but(INNER, proto=132) / bytes(20)),
    "inner from a group": ("inner", BEGIN / but(INSIDE, src="03:00:00:00:00:01") / INNER / DATAGRAM),
    "inner from nobody": ("inner", BEGIN / but(INSIDE, src="00:00:00:00:00:00") / INNER / DATAGRAM),
    "congestion on what can't carry it": ("ecn", LINK / but(OUTER, tos=3) / TUNNEL / VXLAN / PACKET),
    "another VNI": ("unknown", LINK / OUTER / TUNNEL / vxlan(vni=43) / PACKET),
    "a VNI that differs in its highest byte": (
        "unknown",
        LINK / OUTER / TUNNEL / vxlan(vni=LAB.vni | 1 << 23) / PACKET,
    ),
    "another port": ("unknown", LINK / OUTER / but(TUNNEL, dport=8472) / VXLAN / PACKET),
    "from another VTEP": ("unknown", LINK / but(OUTER, src="198.18.0.9") / TUNNEL / VXLAN / PACKET),
    "to another VTEP": ("unknown", LINK / but(OUTER, dst="198.18.0.9") / TUNNEL / VXLAN / PACKET),
    "to a MAC that nobody has": (
        "unknown",
        BEGIN / but(INSIDE, dst="02:00:00:00:02:7f") / INNER / DATAGRAM,
    ),
    "inner broadcast": ("unknown", BEGIN / but(INSIDE, dst="ff:ff:ff:ff:ff:ff") / INNER / DATAGRAM),
}


@pytest.mark.parametrize(("counter", "frame"), LEFT.values(), ids=[*LEFT])
def test_what_is_not_proven_is_left_alone(nic: Nic, counter: str, frame: Packet | bytes) -> None:
    nic(BEGIN / PACKET)  # so that the flow's hint is there
    assert nic(frame) == (f"pass_{counter}", bytes(frame))


@pytest.mark.parametrize("layer", [DATAGRAM, SEGMENT], ids=["UDP", "TCP"])
@pytest.mark.parametrize("length", [1, 2, 17, 18, 999, 1400])
def test_an_outer_checksum_counts_to_the_last_bit(nic: Nic, layer: Packet, length: int) -> None:
    frame = bytes(LINK / OUTER / SUMMED / VXLAN / INSIDE / INNER / layer / (bytes(range(256)) * 6)[:length])
    assert sum_is_right(frame)
    assert nic(frame) == (STRIPPED, frame[OUTER_BYTES:])
    for bit in range(16):
        (check,) = struct.unpack_from(">H", frame, 40)
        if check != 1 << bit:  # else it would be none
            wrong = frame[:40] + struct.pack(">H", check ^ 1 << bit) + frame[42:]
            assert nic(wrong)[0] == "pass_checksum"


def test_a_sum_over_more_than_the_inner_one_covers_is_not_confirmed(nic: Nic) -> None:
    """Inner UDP that ends before its IP packet does: by the headers alone a wrong outer sum looks right."""
    trailing = b"\x12\x34"
    short = IP(bytes(INNER / DATAGRAM / b"long"))
    datagram = bytes(short[UDP])
    inside = INSIDE / but(INNER, proto=17, len=short.len + len(trailing)) / (datagram + trailing)
    frame = bytes(LINK / OUTER / SUMMED / VXLAN / inside)
    assert sum_is_right(frame)
    assert is_intact(bytes(inside))
    assert nic(frame)[0] == "pass_checksum"
    (check,) = struct.unpack_from(">H", frame, 40)
    misled = check + 0x1234 + len(trailing)
    wrong = frame[:40] + struct.pack(">H", (misled & 0xFFFF) + (misled >> 16)) + frame[42:]
    assert not sum_is_right(wrong)
    assert nic(wrong)[0] == "pass_checksum"


FIGURE_4 = {
    # RFC 6040: inner -> what leaves, by outer Not-ECT, ECT(1), ECT(0), CE; None: dropped, which is the stock
    # stack's to do.
    0: (0, 0, 0, None),
    1: (1, 1, 1, 3),
    2: (2, 1, 2, 3),
    3: (3, 3, 3, 3),
}


@pytest.mark.parametrize("outer", range(4))
@pytest.mark.parametrize("inner", range(4))
@pytest.mark.parametrize("tunnel", [TUNNEL, SUMMED], ids=["no sum", "outer sum"])
def test_congestion_marks(nic: Nic, tunnel: Packet, inner: int, outer: int) -> None:
    for dscp in (0, 0xB8, 0xFC):
        for number in (0, 1, 0x1234, 0xFFFF):  # carries in the checksum
            inside = INSIDE / but(INNER, tos=dscp | inner, id=number) / DATAGRAM / b"payload"
            frame = LINK / but(OUTER, tos=outer) / tunnel / VXLAN / inside
            left = FIGURE_4[inner][outer]
            if left is None:
                assert nic(frame)[0] == "pass_ecn"
            else:
                wanted = INSIDE / but(INNER, tos=dscp | left, id=number) / DATAGRAM / b"payload"
                assert nic(frame) == (STRIPPED, bytes(wanted))


def is_provable(frame: bytes) -> bool:
    """Whether all holds that is asked of a frame but for a right outer UDP checksum."""
    if len(frame) < HEADERS:
        return False
    ip, udp, inner = IP(frame[14:34]), UDP(frame[34:42]), IP(frame[64:84])
    inside = frame[OUTER_BYTES:]
    wanted = (
        frame[:6] == bytes(LINK)[:6],
        frame[12:15] == inside[12:15] == b"\x08\x00\x45",
        (ip.len, udp.len) == (len(frame) - 14, len(frame) - 34),
        (ip.src, ip.dst, ip.proto) == (OUTER.src, OUTER.dst, 17),
        checksum(frame[14:34]) == 0,
        not (ip.flags.MF or ip.frag or inner.flags.MF or inner.frag),
        (udp.dport, frame[42:50]) == (LAB.port, VXLAN),
        inside[:6] == bytes(INSIDE)[:6],
        not inside[6] & 1,
        any(inside[6:12]),
        (inner.proto == 17 or (inner.proto == 6 and len(inside) >= 54)),
        FIGURE_4[inner.tos & 3][ip.tos & 3] is not None,
        len(inside) <= 14 + LAB.inner_mtu,
    )
    return all(map(bool, wanted))


def is_intact(inside: bytes) -> bool:
    """Whether a container's stack would take it."""
    ip = IP(inside[14:34])
    layer4 = inside[34 : 14 + ip.len]
    if checksum(inside[14:34]) or len(layer4) < 8 or ip.len != 20 + len(layer4):
        return False
    if ip.proto == 17:
        length, check = struct.unpack_from(">HH", layer4, 4)
        if not 8 <= length <= len(layer4):
            return False
        if not check:
            return True
        layer4 = layer4[:length]
    return bool(in4_chksum(ip.proto, but(ip, len=None), layer4) in (0, 0xFFFF))


def judge(nic: Nic, frame: bytes) -> None:
    name, after = nic(frame)
    if not is_provable(frame):
        assert name != STRIPPED
        return
    assert name in (STRIPPED, "pass_checksum")
    inside = frame[OUTER_BYTES:]
    if not any(frame[40:42]):
        assert name == STRIPPED
    if name == STRIPPED:
        # Headers alone don't tell a damaged packet: what is in it is the container's to check, and to drop.
        assert not any(frame[40:42]) or sum_is_right(frame) or not is_intact(inside)
        mark = FIGURE_4[inside[15] & 3][frame[15] & 3]
        assert after[15] == inside[15] & 0xFC | (mark or 0)
        assert after[:15] + after[16:24] + after[26:] == inside[:15] + inside[16:24] + inside[26:]
        assert (checksum(after[14:34]) == 0) == (checksum(inside[14:34]) == 0)
        assert after == inside or after[15] != inside[15]


BASES = [
    bytes(LINK / but(OUTER, tos=outer) / tunnel / VXLAN / INSIDE / but(INNER, tos=2) / layer / b"payload")
    for tunnel in (TUNNEL, SUMMED)
    for layer in (DATAGRAM, SEGMENT)
    for outer in (0, 1)
]


@pytest.mark.parametrize("base", BASES[::2], ids=["UDP", "TCP", "outer sum UDP", "outer sum TCP"])
def test_a_frame_cut_anywhere(nic: Nic, base: bytes) -> None:
    """As it is: never stripped. With lengths that fit: when it is long enough."""
    for length in range(14, len(base)):
        assert nic(base[:length])[0].startswith("pass_")
        if length >= 42:
            judge(nic, mended(base[:length]))


@pytest.mark.parametrize("base", BASES[::2], ids=["UDP", "TCP", "outer sum UDP", "outer sum TCP"])
def test_any_bit_of_the_headers_flipped(nic: Nic, base: bytes) -> None:
    for at in range(HEADERS * 8):
        data = bytearray(base)
        data[at // 8] ^= 1 << at % 8
        judge(nic, bytes(data))


@settings(derandomize=True, deadline=None, database=None, max_examples=500)
@given(
    base=st.sampled_from(BASES),
    changes=st.lists(st.tuples(st.integers(0, HEADERS - 1), st.integers(0, 255)), max_size=3),
    length=st.one_of(st.none(), st.integers(42, len(BASES[0]))),
    behind=st.binary(max_size=3),
    mend=st.booleans(),
)
def test_any_bytes_changed(
    nic: Nic, base: bytes, changes: list[tuple[int, int]], length: int | None, behind: bytes, mend: bool
) -> None:
    data = bytearray(base[:length] + behind)
    for at, value in changes:
        if at < len(data):
            data[at] = value
    judge(nic, mended(bytes(data)) if mend else bytes(data))
