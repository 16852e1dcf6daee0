"""The way back: which acknowledgements the sender hears, and what leaves the NIC."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from frames import (
    BOX_MAC,
    GATEWAY,
    IN4,
    IN6,
    NIC,
    OURS,
    PEER_MAC,
    PORT,
    STRANGER,
    THEIRS,
    TO_BOX4,
    TO_BOX6,
    VNI,
    over,
)
from nic import LOOPBACK, WITNESS, WORKERS, Nic
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet, Raw

from steering import bpf
from steering.compile import counter_names
from steering.layout import header
from steering.routes import Route

pytestmark = pytest.mark.root

REDIRECT, STOCK, SHOT = 7, 0xFFFFFFFF, 2
ISN = 5000
STAMPS = [("NOP", None), ("NOP", None), ("Timestamp", (7, 8))]


@dataclass
class Stream:
    """One stream as the NIC sees it, and the acknowledgements of its receiver."""

    nic: Nic
    tunnel: Packet = field(default_factory=TO_BOX4.copy)
    inside: Packet = field(default_factory=IN4.copy)
    isn: int = ISN

    def comes(self, start: int, size: int = 100, flags: str = "A") -> None:
        """A segment from the wire: bytes from place ``start`` on."""
        tcp = TCP(sport=1000, dport=2000, seq=(self.isn + start) % (1 << 32), ack=9, flags=flags)
        self.nic.run(self.tunnel / self.inside / tcp / Raw(b"x" * size))

    def ack(self, place: int, *blocks: tuple[int, int], flags: str = "A") -> Packet:
        """An acknowledgement up to ``place``, with SACK blocks."""
        number = lambda at: (self.isn + at) % (1 << 32)  # noqa: E731
        options = list(STAMPS)
        if blocks:
            edges = tuple(number(at) for block in blocks for at in block)
            options += [("NOP", None), ("NOP", None), ("SAck", edges)]
        tcp = TCP(sport=2000, dport=1000, seq=9, ack=number(place), flags=flags, options=options)
        reply = over(self.inside, src=self.inside.dst, dst=self.inside.src)
        return Ether(bytes(Ether(dst=PEER_MAC, src=BOX_MAC) / reply / tcp))


@dataclass(frozen=True)
class Told:
    """What became of a packet."""

    verdict: int
    counted: set[str]
    data: bytes


@pytest.fixture
def nic(compiled: Callable[[str], Nic]) -> Iterator[Nic]:
    """The container whose socket sends is in this namespace, behind the loopback device."""
    one = compiled(WITNESS)
    one.reset()
    one.set_knobs(slot=0)
    one.forget_flows()
    size = bpf.map_info(one.unit.module.fd("tracks")).value_size
    for index in range(header("maps.h").constants["MAX_FLOWS"]):
        one.unit.module.put("tracks", index, bytes(size))
    routes = {
        end: replace(way, next=0, home=end.ns.cookie, host=LOOPBACK, exit=LOOPBACK)
        if way.delivery == "peer"
        else way
        for end, way in one.routes.items()
    }
    one.route(routes)
    yield one
    one.reset()


@pytest.fixture
def stream(nic: Nic) -> Stream:
    """Three segments came in order, and two of them are acknowledged."""
    one = Stream(nic)
    for start in (0, 100, 200):
        one.comes(start)
    assert back(nic, one.ack(200)).verdict == REDIRECT
    return one


def back(nic: Nic, packet: Packet | bytes) -> Told:
    program = nic.unit.back
    assert program is not None
    before = nic.unit.module.total("back_counters", "back_counter")
    done = bpf.prog_test_run(program, bytes(packet))
    after = nic.unit.module.total("back_counters", "back_counter")
    counted = {name for name in counter_names("back_counter") if after[name] != before[name]}
    return Told(done.retval, counted - {"seen"}, done.data)


def options_of(data: bytes) -> list[object]:
    return [each for each in Ether(data)[TCP].options if each[0] != "NOP"]


def whole(packet: Packet) -> bool:
    """Whether scapy would write the same checksums."""
    again = packet.copy()
    for layer in (IP, TCP):
        if layer in again:
            del again[layer].chksum
    return bytes(again) == bytes(packet)


def test_it_goes_out_in_the_tunnel_that_its_stream_came_in(stream: Stream) -> None:
    acknowledgement = stream.ack(300)
    told = back(stream.nic, acknowledgement)
    assert (told.verdict, told.counted) == (REDIRECT, {"short"})
    frame = Ether(told.data)
    assert (frame.src, frame.dst) == (NIC, GATEWAY)
    assert (frame[IP].src, frame[IP].dst) == (OURS[4], THEIRS[4])
    outer = frame[IP].copy()
    del outer.chksum
    assert IP(bytes(outer)).chksum == frame[IP].chksum
    assert frame[IP].len == len(told.data) - 14 and frame[IP].payload.len == frame[IP].len - 20
    assert frame[IP].payload.dport == PORT and frame[IP].payload.chksum == 0
    assert frame[VXLAN].vni == VNI and frame[VXLAN].flags == 8
    assert bytes(frame[VXLAN].payload) == bytes(acknowledgement)


def test_inner_ipv6(nic: Nic) -> None:
    stream = Stream(nic, inside=IN6)
    stream.comes(0)
    acknowledgement = stream.ack(100)
    told = back(nic, acknowledgement)
    assert told.verdict == REDIRECT
    assert bytes(Ether(told.data)[VXLAN].payload) == bytes(acknowledgement)


def test_behind_outer_ipv6_it_is_shielded_and_goes_the_stock_way(nic: Nic) -> None:
    stream = Stream(nic, tunnel=TO_BOX6, inside=IN6)
    for start in (0, 100, 200):
        stream.comes(start)
    assert back(nic, stream.ack(200)).counted == {"stock"}
    assert back(nic, stream.ack(200, (250, 300))).verdict == SHOT


def test_a_duplicate_that_tells_of_our_disorder_is_dropped(stream: Stream) -> None:
    told = back(stream.nic, stream.ack(200, (250, 300)))
    assert (told.verdict, told.counted) == (SHOT, {"dropped"})


def test_progress_is_told_without_the_disorder(stream: Stream) -> None:
    stream.comes(300, 700)
    told = back(stream.nic, stream.ack(300, (400, 500), (600, 700), (800, 900)))
    assert (told.verdict, told.counted) == (REDIRECT, {"short", "blanked"})
    inner = Ether(bytes(Ether(told.data)[VXLAN].payload))
    assert options_of(bytes(inner)) == [("Timestamp", (7, 8))]
    assert inner[TCP].ack == ISN + 300 and whole(inner)


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_a_dsack_is_told_and_nothing_else(stream: Stream, blocks: int) -> None:
    stream.comes(300, 700)
    ours = [(400, 500), (600, 700)][: blocks - 1]
    told = back(stream.nic, stream.ack(300, (0, 100), *ours))
    inner = Ether(bytes(Ether(told.data)[VXLAN].payload))
    assert options_of(bytes(inner))[1] == ("SAck", (ISN, ISN + 100)) and whole(inner)
    told = back(stream.nic, stream.ack(300, (0, 100), *ours))
    assert (told.verdict, told.counted) == (REDIRECT, {"short", "dsack"})


def test_a_dsack_inside_the_second_block_is_told(stream: Stream) -> None:
    assert "dsack" in back(stream.nic, stream.ack(200, (260, 270), (250, 300))).counted


def test_a_gap_on_the_wire_is_told_until_it_is_filled(stream: Stream) -> None:
    stream.comes(400)
    for _ in range(3):
        told = back(stream.nic, stream.ack(300, (400, 500)))
        assert (told.verdict, told.counted) == (REDIRECT, {"short"})
        assert ("SAck", (ISN + 400, ISN + 500)) in options_of(
            bytes(Ether(told.data)[VXLAN].payload)
        )
    stream.comes(300)
    stream.comes(500, 500)
    assert back(stream.nic, stream.ack(500)).verdict == REDIRECT
    assert back(stream.nic, stream.ack(500, (600, 700))).verdict == SHOT


def test_a_retransmission_is_no_gap(stream: Stream) -> None:
    stream.comes(100)
    assert back(stream.nic, stream.ack(200, (250, 300))).verdict == SHOT


def test_what_our_queues_lost_is_told(stream: Stream) -> None:
    stream.nic.set_workers(WORKERS, [(5, 1, 0)])
    assert back(stream.nic, stream.ack(200, (250, 300))).counted == {"short", "disarmed"}
    assert back(stream.nic, stream.ack(200, (250, 300))).counted == {"short"}


def test_nothing_is_kept_for_longer_than_the_shield_may(stream: Stream) -> None:
    assert back(stream.nic, stream.ack(200, (250, 300))).verdict == SHOT
    time.sleep(0.003)  # 2 ms by default
    told = back(stream.nic, stream.ack(200, (250, 300)))
    assert (told.verdict, told.counted) == (REDIRECT, {"short", "late"})
    # Idle time before it does not count.
    stream.comes(300)
    assert back(stream.nic, stream.ack(300)).verdict == REDIRECT
    time.sleep(0.003)
    assert back(stream.nic, stream.ack(300, (350, 400))).verdict == SHOT


def test_what_came_before_the_first_segment_is_not_known(nic: Nic) -> None:
    stream = Stream(nic)
    stream.comes(100)
    assert back(nic, stream.ack(50, (100, 200))).verdict == REDIRECT


def test_window_updates_are_told(stream: Stream) -> None:
    for _ in range(2):
        assert back(stream.nic, stream.ack(200)).verdict == REDIRECT


def test_sequence_numbers_wrap(nic: Nic) -> None:
    stream = Stream(nic, isn=(1 << 32) - 150)
    for start in (0, 100, 200):
        stream.comes(start)
    assert back(nic, stream.ack(100)).verdict == REDIRECT
    assert back(nic, stream.ack(100, (200, 300))).verdict == SHOT
    assert back(nic, stream.ack(250)).verdict == REDIRECT
    assert back(nic, stream.ack(250, (280, 300))).verdict == SHOT


def test_another_stream_between_the_same_ends(stream: Stream) -> None:
    stream.comes(0, 0, flags="S")
    other = replace(stream, isn=ISN - 1_000_000)
    for start in (0, 100):
        other.comes(start)
    assert back(stream.nic, other.ack(100)).verdict == REDIRECT
    assert back(stream.nic, other.ack(100, (150, 200))).verdict == SHOT


@pytest.mark.parametrize("flags", ["S", "SA", "F", "FA", "R", "RA", "PA", "UA"])
def test_control_and_data_go_the_stock_way(stream: Stream, flags: str) -> None:
    assert back(stream.nic, stream.ack(300, flags=flags)).verdict == STOCK
    assert back(stream.nic, stream.ack(300) / Raw(b"data")).verdict == STOCK


def test_ecn_echo_is_told_as_it_is(stream: Stream) -> None:
    acknowledgement = stream.ack(300, flags="AE")
    told = back(stream.nic, acknowledgement)
    assert bytes(Ether(told.data)[VXLAN].payload) == bytes(acknowledgement)


def test_options_that_are_not_known_go_the_stock_way(stream: Stream) -> None:
    packet = stream.ack(300)
    packet[TCP].options = [("MSS", 1400), *STAMPS]
    told = back(stream.nic, Ether(bytes(rebuilt(packet))))
    assert (told.verdict, told.counted) == (STOCK, {"stock"})


def rebuilt(packet: Packet) -> Packet:
    again = packet.copy()
    del again[TCP].chksum, again[TCP].dataofs, again[IP].len, again[IP].chksum
    return again


@pytest.mark.parametrize(
    "change",
    [
        lambda p: over(p, dst="02:00:00:00:02:99"),
        lambda p: p.__class__(bytes(p).replace(b"\x07\xd0", b"\x07\xd1", 1)),
    ],
    ids=["another inner destination", "another port"],
)
def test_what_answers_no_stream_goes_the_stock_way(
    stream: Stream, change: Callable[[Packet], Packet]
) -> None:
    told = back(stream.nic, change(stream.ack(300)))
    assert (told.verdict, told.counted) == (STOCK, {"stock"})


def test_who_is_not_the_container_has_no_say(stream: Stream) -> None:
    nic = stream.nic
    [mine] = [end for end, way in nic.routes.items() if way.delivery == "peer"]
    for fields in ({"home": mine.ns.cookie + 1}, {"home": 0}, {"host": LOOPBACK + 1}):
        way = Route("peer", 0, 7, 0, mine.ns.cookie, LOOPBACK, LOOPBACK)
        nic.route({mine: replace(way, **fields)})
        stream.comes(200)
        told = back(nic, stream.ack(300))
        assert (told.verdict, told.counted) == (STOCK, {"stock"})


def test_a_sender_that_moved_is_reached_where_it_is(stream: Stream) -> None:
    moved = over(stream.tunnel, src="02:00:00:00:00:77")
    replace(stream, tunnel=moved).comes(300)
    told = back(stream.nic, stream.ack(400))
    assert Ether(told.data).dst == "02:00:00:00:00:77"


def test_a_stranger_leads_no_stream_astray(stream: Stream) -> None:
    forged = stream.tunnel.copy()
    forged[IP].src = STRANGER[4]
    replace(stream, tunnel=forged).comes(900)
    told = back(stream.nic, stream.ack(300))
    assert Ether(told.data)[IP].dst == THEIRS[4]
    assert back(stream.nic, stream.ack(300, (900, 950))).verdict == SHOT


def test_every_length_is_looked_at_without_harm(stream: Stream) -> None:
    whole_packet = bytes(stream.ack(300, (400, 500), (600, 700)))
    for length in range(14 + 20, len(whole_packet)):  # the kernel takes no shorter ones
        assert back(stream.nic, whole_packet[:length]).verdict == STOCK
    draw = np.random.default_rng(1)
    for _ in range(500):
        raw = bytearray(whole_packet)
        raw[int(draw.integers(14, len(raw)))] ^= int(draw.integers(1, 256))
        assert back(stream.nic, bytes(raw)).verdict in (STOCK, SHOT, REDIRECT)
