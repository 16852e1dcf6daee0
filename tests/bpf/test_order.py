"""Packets that overtake each other between steering and delivery, frame by frame."""

import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest
from frames import SECRET
from ground import planned

from bench.cost import route_of
from bench.frame import FIRST_PORT, build
from bench.lab_plan import Plan as LabPlan
from steering import bpf
from steering.bpf import Kind
from steering.layout import header
from steering.unit import Unit

PROOF, VOUCHED = (header("proof.h").struct(name).itemsize for name in ("proof", "vouched"))
FLOWS = header("maps.h").constants["MAX_FLOWS"]
OUTER = {4: 50, 6: 70}


class Path:
    """A NIC, and a worker whose queue is a test's to shuffle."""

    def __init__(self, unit: Unit, version: int) -> None:
        self.lab, self._version = LabPlan("flannel", outer=version), version
        self.unit, self._deliver = unit, unit.load("deliver", Kind.XDP)
        unit.route([replace(route_of(self.lab), zero_checksum=True)])
        self.watch(True)
        self._before = unit.totals()

    def watch(self, watched: bool) -> None:
        self.unit.serve(self.unit.plan, self.lab.nic_mac, watched)

    def frame(self, flow: int = 0) -> bytes:
        frame = bytearray(build(self.lab, 18).data)
        inside = OUTER[self._version]
        frame[inside - 10 : inside - 8] = bytes(2)  # no outer checksum
        struct.pack_into(">H", frame, inside + 34, FIRST_PORT + flow)
        return bytes(frame)

    def steer(self, flow: int = 0) -> bytes:
        """What is in the worker's queue then, or in the container."""
        return bpf.test_run(self.unit.program, self.frame(flow))[1]

    def deliver(self, *queue: bytes) -> None:
        for frame in queue:
            verdict, data = bpf.test_run(self._deliver, frame)
            assert (verdict, data[PROOF:]) == (bpf.XDP_PASS, frame[OUTER[self._version] :])

    @property
    def place(self) -> int:
        """Of the mark in a frame."""
        return OUTER[self._version] - VOUCHED

    def mark(self, frame: bytes) -> int:
        return int(struct.unpack_from("=Q", frame, self.place)[0])

    def row(self, frame: bytes) -> int:
        """A mark begins with the flow's hash, whose low bits tell the row."""
        return self.mark(frame) >> 32 & (FLOWS - 1)

    @property
    def counted(self) -> tuple[int, int]:
        """Numbered, reordered."""
        now = self.unit.totals() - self._before
        assert (now.passed, now.drops) == (0, {})
        numbered, reordered = (sum(each.values()) for each in (now.numbered, now.reordered))
        return numbered, reordered


@pytest.fixture(scope="module")
def units() -> Iterator[Callable[[str], Unit]]:
    with ExitStack() as stack:
        made = {name: stack.enter_context(Unit(planned(name), SECRET)) for name in ("pin", "roundrobin")}
        yield made.__getitem__


@pytest.fixture(params=[4, 6])
def remote(units: Callable[[str], Unit], request: pytest.FixtureRequest) -> Path:
    """All by the worker."""
    return Path(units("pin"), request.param)


def test_who_comes_behind_a_later_one_of_its_flow_is_counted(remote: Path) -> None:
    queue = [remote.steer() for _ in range(4)]
    remote.deliver(*queue)
    assert remote.counted == (4, 0)
    a, b, c, d = (remote.steer() for _ in range(4))
    remote.deliver(b, a, d, c)
    assert remote.counted == (8, 2)
    e, f, g = (remote.steer() for _ in range(3))
    remote.deliver(g, e, f)
    assert remote.counted == (11, 4)


def test_flows_do_not_overtake_each_other(remote: Path) -> None:
    queues = [[remote.steer(flow) for _ in range(3)] for flow in (1, 2)]
    remote.deliver(*queues[1], *queues[0])
    assert remote.counted == (6, 0)


def test_nor_do_flows_that_share_a_row(remote: Path) -> None:
    rows: dict[int, int] = {}
    for flow in range(FLOWS + 1):
        other = rows.setdefault(remote.row(remote.steer(flow)), flow)
        if other != flow:
            break
    a, b, c = remote.steer(flow), remote.steer(other), remote.steer(flow)
    remote.deliver(c, b, a)
    assert remote.counted == (3, 0), "missed: between the two the row was the other flow's"
    a, b, c = remote.steer(flow), remote.steer(other), remote.steer(flow)
    remote.deliver(c, a, b)
    assert remote.counted == (6, 1)


def test_numbers_wrap(remote: Path) -> None:
    flows = remote.unit._module.map("flows")
    remote.deliver(remote.steer())
    row, hash_ = remote.row(remote.steer()), remote.mark(remote.steer()) >> 32
    remote.unit._module.map("latest").put(row, struct.pack("=Q", hash_ << 32 | 0xFFFFFFFD))
    flows.put(row, struct.pack("=II", 0, 0xFFFFFFFD) + bytes(flows.size - 8))
    a, b, c, d = (remote.steer() for _ in range(4))
    assert [remote.mark(each) & 0xFFFFFFFF for each in (a, b, c, d)] == [0xFFFFFFFE, 0xFFFFFFFF, 0, 1]
    remote.deliver(a, c, b, d)
    assert remote.counted == (5, 1)


def test_the_nics_core_delivers_too(units: Callable[[str], Unit]) -> None:
    """What it delivers itself overtakes what waits for the worker."""
    both = Path(units("roundrobin"), 4)
    sent = [both.steer() for _ in range(6)]
    queue = [each for each in sent if len(each) == len(both.frame())]
    assert len(queue) == 3
    assert both.counted == (3, 0)
    both.deliver(queue[0], queue[1])
    assert both.counted == (5, 2)
    both.deliver(queue[2])
    assert both.counted == (6, 2)


def test_nothing_is_counted_unless_it_is_watched(remote: Path) -> None:
    remote.watch(False)
    before, end = [remote.steer() for _ in range(2)], remote.place + 8
    for each in before:
        assert each[:end] == remote.frame()[:end], "nothing but the proof is written"
    remote.watch(True)
    remote.deliver(*before[::-1])
    assert remote.counted == (0, 0), "they were steered before"
    a, b = remote.steer(), remote.steer()
    remote.watch(False)
    between = remote.steer()
    remote.deliver(b, between, a)
    assert remote.counted == (2, 1), "they bear numbers"
    remote.watch(True)
    remote.deliver(remote.steer(), remote.steer())
    assert remote.counted == (4, 1), "numbers go on"


def test_the_metadata_of_all_packets_of_a_flow_are_equal(remote: Path) -> None:
    proofs = {remote.steer()[remote.place + 8 : remote.place + VOUCHED] for _ in range(3)}
    assert len(proofs) == 1, "or GRO would merge nothing"
