"""`adaptive` and `safe`: what they make of pressure, of clear paths, and of crowded workers."""

import struct
from collections.abc import Callable

import pytest
from frames import DATAGRAM, IN4, TO_BOX4
from nic import Nic
from scapy.layers.inet import UDP

from steering import bpf
from steering.layout import header

pytestmark = pytest.mark.root

FLOW = bytes(TO_BOX4 / IN4 / DATAGRAM)
OTHER_FLOW = bytes(TO_BOX4 / IN4 / UDP(sport=7, dport=8) / b"another flow")
CELL, CROWDED_CELL = 64, 32
_WORKERS = header("policy.h").struct("workers")


@pytest.fixture
def fresh(compiled: Callable[[str], Nic]) -> Callable[[str], Nic]:
    def of(policy: str) -> Nic:
        nic = compiled(policy)
        nic.reset()
        nic.forget_flows()
        size = bpf.map_info(nic.unit.module.fd("cores")).value_size
        nothing = bytes((size + 7) // 8 * 8 * bpf.possible_cpus())
        bpf.map_update(nic.unit.module.fd("cores"), struct.pack("=I", 0), nothing)
        nic.unit.set_knobs(nic.unit.plan.knobs)
        nic.press(0)
        return nic

    return of


def cell(nic: Nic, length: int = CELL, frame: bytes = FLOW) -> int:
    """Steer one cell under pressure; the slot that it had as a whole."""
    nic.press(8)
    slots = set(nic.slots([frame] * length))
    assert len(slots) == 1
    return int(slots.pop())


def workers(nic: Nic, **columns: list[int]) -> None:
    """Change counters of the three workers."""
    table = nic.unit.module.get("workers", _WORKERS).copy()
    for name, values in columns.items():
        table["worker"][name][: len(values)] = values
    nic.unit.module.put("workers", 0, table)


def test_adaptive_stays_while_the_core_keeps_up(fresh: Callable[[str], Nic]) -> None:
    assert fresh("adaptive").slots([FLOW, OTHER_FLOW] * 200) == [0] * 400


def test_adaptive_spreads_cells_under_pressure(fresh: Callable[[str], Nic]) -> None:
    nic = fresh("adaptive")
    # Nothing is taken out here: each worker gets two cells of 64, then its limit of 128 is reached.
    assert [cell(nic) for _ in range(8)] == [1, 2, 3, 1, 2, 3, 0, 0]
    workers(nic, done=[64, 128, 0])
    assert [cell(nic) for _ in range(4)] == [2, 1, 2, 0]
    nic.press(0)
    assert nic.slots([FLOW] * CELL) == [0] * CELL


def test_adaptive_spares_a_worker_that_has_to_yield(fresh: Callable[[str], Nic]) -> None:
    nic = fresh("adaptive")
    nic.set_workers(1)
    lengths = []
    for yielded in range(1, 7):
        workers(nic, yielded=[yielded], done=[1 << 40])
        assert cell(nic, CROWDED_CELL) == 1
        # Had the cell 64 packets it goes on although the pressure has gone.
        nic.press(0)
        rest = nic.slots([FLOW] * CROWDED_CELL)
        lengths.append(CELL if rest == [1] * CROWDED_CELL else CROWDED_CELL)
        nic.forget_flows()
    assert lengths == [CELL] * 2 + [CROWDED_CELL] * 4
    # And its backlog is kept small: 40 are too many now.
    workers(nic, sent=[40], done=[0], yielded=[7])
    assert cell(nic) == 0
    # It is forgiven when it has had no need to yield for some cells.
    workers(nic, sent=[0], done=[1 << 40])
    for _ in range(200):
        cell(nic, CROWDED_CELL)
        nic.forget_flows()
    workers(nic, sent=[40], done=[0])
    assert cell(nic) == 1


def test_adaptive_minds_no_yield_now_and_then(fresh: Callable[[str], Nic]) -> None:
    nic = fresh("adaptive")
    nic.set_workers(1)
    for yielded in range(4):
        workers(nic, sent=[40], done=[0], yielded=[yielded])
        for _ in range(70):
            workers(nic, sent=[40])
            assert cell(nic, 1) == 1
            nic.forget_flows()


def test_safe_moves_a_clear_flow_under_pressure_only(fresh: Callable[[str], Nic]) -> None:
    nic = fresh("safe")
    assert nic.slots([FLOW]) == [0]  # new, so it is clear, and nothing presses
    workers(nic, sent=[9, 5, 7], done=[0, 0, 0])
    nic.press(8)
    assert nic.slots([OTHER_FLOW]) == [2]  # new: to the least loaded
    workers(nic, sent=[9, 6, 0])
    assert nic.slots([OTHER_FLOW] * 3) == [2] * 3  # on its way: it stays
    workers(nic, finished=[0, 9, 0])
    nic.press(8)
    assert nic.slots([OTHER_FLOW]) == [3]  # clear: it moves
    workers(nic, sent=[500, 500, 500], finished=[0, 0, 500])
    nic.press(8)
    assert nic.slots([OTHER_FLOW]) == [0]  # clear, and every worker is above its limit
