"""The wire's program, one frame at a time: every byte is what an independent builder says."""

import struct
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet

from bench.frame import FIRST_PORT, OUTER_PORT, SINK_PORT, build
from bench.lab_plan import Plan
from bench.lanes import BATCH, TURN, Lane, lanes
from bench.seen import Seen
from bench.traffic import Traffic
from bench.wire import config_of, on_core, put_lanes, sizes_of
from steering import bpf, cores
from steering.bpf import Kind
from steering.compile import Module
from steering.layout import header

STAMP = header("stamp.h").struct("stamp")
LANE = header("wire.h").struct("wire_lane")
PLAN = Plan()


@pytest.fixture(scope="module")
def wire() -> Iterator[Module]:
    """Compiled once: maps are written anew for each frame. There is no device to send to."""
    with Module("wire.bpf.c", defines=sizes_of(build(PLAN, 18))) as module:
        yield module


def turn_to(wire: Module, flow: int, sequence: int, place: int = 0) -> None:
    """The next frame is that flow's, whichever core sends it; ``place`` in its batch."""
    one = np.array([(flow, 1, sequence)], TURN)
    every = [Lane(core, one, np.zeros(0, BATCH), np.zeros(0, np.uint64)) for core in range(cores.possible())]
    put_lanes(wire, every)
    for lane in every:
        row = wire.map("wire_lanes").get(LANE, lane.core)
        row["left"], row["place"], row["ready"] = 1, place, 2
        wire.map("wire_lanes").put(lane.core, row.tobytes())


def times(wire: Module) -> set[int]:
    """Intended times of the lanes' last batches."""
    return {int(wire.map("wire_lanes").get(LANE, core)["arrival"]) for core in range(cores.possible())}


def put(wire: Module, traffic: Traffic, flow: int = 0, sequence: int = 0) -> bytes:
    """Prepare the next frame; returns what the program will find in its buffer."""
    frame = build(PLAN, traffic.payload)
    wire.map("wire_config").put(0, config_of(frame, traffic))
    turn_to(wire, flow, sequence)
    # What a recycled buffer holds: headers that somebody has written to.
    return bytes(42) + frame.data[42:]


def expected(payload: bytes, flow: int) -> bytes:
    """The whole frame, made from nothing but the plan; scapy sums it up."""
    link = Ether(dst=PLAN.nic_mac, src=PLAN.wire_mac)
    ip = IP(src=PLAN.wire_ip, dst=PLAN.nic_ip, flags="DF", id=0, ttl=64)
    return bytes(link / ip / UDP(sport=FIRST_PORT + flow, dport=SINK_PORT) / payload)


@settings(derandomize=True, deadline=None, database=None, max_examples=60)
@given(
    payload=st.integers(18, 1400),
    flow=st.integers(0, 4095),
    sequence=st.integers(0, 2**32 - 1),
    run=st.integers(0, 2**32 - 1),
)
def test_every_byte(wire: Module, payload: int, flow: int, sequence: int, run: int) -> None:
    traffic = Traffic(payload, flows=4096, run=run)
    _, data = bpf.test_run(wire.load("wire", Kind.XDP), put(wire, traffic, flow, sequence))
    stamp = struct.unpack("=IHIQ", data[42:60])
    assert stamp[:3] == (run, flow, sequence)
    assert stamp[3] in times(wire) - {0}
    assert data == expected(data[42:60] + bytes(at & 0xFF for at in range(payload - 18)), flow)


# What of the sum is not the template's: the source port of flow 0, as a word of this machine.
PORT = int.from_bytes(FIRST_PORT.to_bytes(2, "big"), "little")


@pytest.mark.parametrize(
    ("total", "check"),
    [(0xFFFF, 0xFFFF), (0x1FFFE, 0xFFFF), (0xFFFE, 1), (0x10000, 0xFFFE), (0x5234, 0xADCB)],
)
def test_a_checksum_of_zero_is_sent_as_ones(wire: Module, total: int, check: int) -> None:
    """0 would say that there is none (RFC 768)."""
    frame = replace(build(PLAN, 18), sum=total - PORT)
    wire.map("wire_config").put(0, config_of(frame, Traffic(run=0, batch=2)))
    turn_to(wire, 0, 0, place=1)  # within a batch, so that the time stays 0: stamp and port are known
    _, data = bpf.test_run(wire.load("wire", Kind.XDP), frame.data)
    assert struct.unpack("<H", data[40:42]) == (check,)


def test_frames_are_stamped_with_the_arrivals_that_were_drawn(wire: Module) -> None:
    """However late a frame leaves, its time is when it should have: the next ones are due long since."""
    traffic = Traffic(batch=4, rate=20_000_000, arrivals="poisson", moderation=1, run=9)
    frame, wanted = build(PLAN, 18), 40
    made = [lanes(traffic, [core])[0] for core in range(cores.possible())]
    wire.map("wire_config").put(0, config_of(frame, traffic))
    put_lanes(wire, [replace(lane, gaps=lane.gaps[:64], batches=lane.batches[:64]) for lane in made])
    for lane in made:
        row = wire.map("wire_lanes").get(LANE, lane.core)
        row["left"] = wanted
        wire.map("wire_lanes").put(lane.core, row.tobytes())
    times = []
    with on_core(cores.usable()[0]):
        while len(times) < wanted:  # turns in which none is due, or a batch is short, leave the buffer alone
            _, data = bpf.test_run(wire.load("wire", Kind.XDP), bytes(42) + frame.data[42:])
            if any(data[:42]):
                times.append(struct.unpack("=IHIQ", data[42:60])[3])
    assert np.diff(times).tolist() == made[0].gaps[1:wanted].tolist()


def test_without_a_device_nothing_is_sent_nor_counted(wire: Module) -> None:
    before = wire.counts("wire_counters", "wire_counter")["sent"].sum()
    verdict, _ = bpf.test_run(wire.load("wire", Kind.XDP), put(wire, Traffic()))
    assert verdict == bpf.XDP_DROP
    assert wire.counts("wire_counters", "wire_counter")["sent"].sum() == before


@pytest.mark.parametrize("length", [14, 42, 59])
def test_a_buffer_without_room_for_the_stamp_is_dropped_untouched(wire: Module, length: int) -> None:
    put(wire, Traffic())
    verdict, data = bpf.test_run(wire.load("wire", Kind.XDP), bytes(length))
    assert (verdict, data) == (bpf.XDP_DROP, bytes(length))


def test_a_nic_that_only_counts() -> None:
    with Seen() as nic:
        for _ in range(3):
            assert bpf.test_run(nic.program("drop"), bytes(60))[0] == bpf.XDP_DROP
        assert bpf.test_run(nic.program("pass"), bytes(60))[0] == bpf.XDP_PASS
        assert nic.frames == 4


PLANS = [Plan("flannel", 80, inner, outer) for outer in (4, 6) for inner in (4, 6)] + [Plan(inner=6)]


@pytest.fixture(scope="module", params=PLANS, ids=["4 in 4", "6 in 4", "4 in 6", "6 in 6", "6 alone"])
def planned(request: pytest.FixtureRequest) -> Iterator[tuple[Plan, Module]]:
    with Module("wire.bpf.c", defines=sizes_of(build(request.param, 18))) as module:
        yield request.param, module


@settings(derandomize=True, deadline=None, database=None, max_examples=30)
@given(payload=st.integers(18, 1400), flow=st.integers(0, 4095), sequence=st.integers(0, 2**32 - 1))
def test_every_byte_of_each_ip_version(
    planned: tuple[Plan, Module], payload: int, flow: int, sequence: int
) -> None:
    """Outer and inner headers, for whichever container, as an independent builder makes and sums them."""
    plan, module = planned
    frame, traffic = build(plan, payload), Traffic(payload, flows=4096, run=5)
    module.map("wire_config").put(0, config_of(frame, traffic, containers=len(plan.containers)))
    turn_to(module, flow, sequence)
    at = len(frame.data) - payload
    _, data = bpf.test_run(module.load("wire", Kind.XDP), bytes(at) + frame.data[at:])
    made = UDP(sport=FIRST_PORT + flow, dport=SINK_PORT) / data[at:]
    outer = Ether(dst=plan.nic_mac, src=plan.wire_mac) / ip(plan.underlay, plan.wire_ip, plan.nic_ip)
    if plan.has_tunnel:
        pod = plan.containers[flow % 80]
        inner = Ether(dst=pod.mac, src=plan.peer_mac) / ip(plan.inner, plan.peer_ip, pod.ip)
        unsummed = {"chksum": 0} if plan.outer == 4 else {}
        tunnel = UDP(sport=OUTER_PORT + flow, dport=4789, **unsummed) / VXLAN(flags="Instance", vni=42)
        made = tunnel / inner / made
    assert data == bytes(outer / made)
    assert struct.unpack("=IHI", data[at : at + 10]) == (5, flow, sequence)


def ip(version: int, src: str, dst: str) -> Packet:
    return IPv6(src=src, dst=dst) if version == 6 else IP(src=src, dst=dst, flags="DF", id=0, ttl=64)
