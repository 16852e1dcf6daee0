"""`stream`: control and small flows stay, cells go by backlog, a worker that stands still rests."""

import struct
from collections.abc import Callable

import pytest
from frames import IN4, TO_BOX4
from nic import WORKERS, Nic
from scapy.layers.inet import TCP

from steering import bpf

pytestmark = pytest.mark.root

CELL = 4


def segment(flags: str = "A", port: int = 1000) -> bytes:
    return bytes(TO_BOX4 / IN4 / TCP(sport=port, dport=2000, seq=1, ack=2, flags=flags) / b"x")


@pytest.fixture
def stream(compiled: Callable[[str], Nic]) -> Callable[..., Nic]:
    """The policy with short cells, no small flows, and no look at how pressed the core is."""

    def of(**knobs: int) -> Nic:
        nic = compiled("stream")
        nic.reset()
        nic.forget_flows()
        size = bpf.map_info(nic.unit.module.fd("cores")).value_size
        nothing = bytes((size + 7) // 8 * 8 * bpf.possible_cpus())
        bpf.map_update(nic.unit.module.fd("cores"), struct.pack("=I", 0), nothing)
        given = {"cell": CELL, "limit": 8, "small": 0, "calm": 0, "still": 2, "rest": 3} | knobs
        nic.set_knobs(**nic.unit.plan.policy.values({k: str(v) for k, v in given.items()}))
        return nic

    return of


def cells(nic: Nic, count: int) -> list[int]:
    found = []
    for _ in range(count):
        [slot] = set(nic.slots([segment()] * CELL))
        found.append(int(slot))
    return found


def test_cells_go_to_the_least_loaded_below_the_limit(stream: Callable[..., Nic]) -> None:
    assert cells(stream(rest=0), 8) == [1, 2, 3, 1, 2, 3, 0, 0]


@pytest.mark.parametrize("flags", ["S", "SA", "FA", "R", "RA"])
def test_control_stays_and_disturbs_no_cell(stream: Callable[..., Nic], flags: str) -> None:
    nic = stream()
    train = [segment(), segment(), segment(flags), segment(), segment(), segment()]
    assert nic.slots(train) == [1, 1, 0, 1, 1, 2]


def test_a_small_flow_stays(stream: Callable[..., Nic]) -> None:
    nic = stream(small=2 * CELL)
    assert cells(nic, 4) == [0, 0, 1, 2]
    assert nic.slots([segment(port=7)] * CELL) == [0] * CELL


def test_it_stays_while_the_core_keeps_up(stream: Callable[..., Nic]) -> None:
    nic = stream(calm=1)
    assert cells(nic, 2) == [0, 0]
    nic.press(8)
    assert cells(nic, 2) == [1, 2]


def test_a_worker_that_stands_still_is_left_alone(stream: Callable[..., Nic]) -> None:
    nic = stream(limit=100)
    nic.set_workers(1, [(0, 0, 0)])
    # Nothing is taken out: after two looks without progress it rests, as long as that is so.
    assert cells(nic, 8) == [1, 1, 0, 0, 0, 0, 0, 0]
    nic.set_workers(1, [(8, 0, 8)])
    assert cells(nic, 3) == [0, 1, 1]  # the rest of the last rest


def test_a_worker_that_gets_on_is_not(stream: Callable[..., Nic]) -> None:
    nic = stream(limit=100)
    for taken in range(8):
        nic.set_workers(1, [(20, 0, taken)])
        assert cells(nic, 1) == [1]
    nic.set_workers(WORKERS)
