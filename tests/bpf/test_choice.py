"""Policies that choose by hash, by lot, by weight or by a pause."""

import time
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from frames import BOX_MAC, DATAGRAM, IN4, PEER_MAC, TO4, TO_BOX4, VETH_MAC
from nic import Nic
from scapy.layers.inet import TCP, UDP
from scapy.layers.l2 import Ether

pytestmark = pytest.mark.root

WORKERS = 3
FLOW = bytes(TO_BOX4 / IN4 / DATAGRAM)
Attach = Callable[..., Nic]


def flow(port: int) -> bytes:
    return bytes(TO_BOX4 / IN4 / UDP(sport=port, dport=9) / b"x")


@pytest.fixture
def attached(compiled: Callable[[str], Nic]) -> Attach:
    def of(policy: str, **knobs: int) -> Nic:
        nic = compiled(policy)
        nic.reset()
        nic.forget_flows()
        nic.set_knobs(**nic.unit.plan.policy.values({k: str(v) for k, v in knobs.items()}))
        return nic

    return of


def chi_square(slots: list[int], choices: int) -> float:
    expected = len(slots) / choices
    counts = Counter(slots)
    return sum((counts[slot] - expected) ** 2 / expected for slot in counts)


@pytest.mark.parametrize(("local", "slots"), [(0, {1, 2, 3}), (1, {0, 1, 2, 3})])
def test_hash_spreads_flows_evenly_and_keeps_each(
    attached: Attach, local: int, slots: set[int]
) -> None:
    nic = attached("hash", local=local)
    frames = [flow(port) for port in range(1000, 2000)]
    first = nic.slots(frames)
    assert set(first) == slots
    assert chi_square(first, len(slots)) < 22  # 3 degrees of freedom: p < 0.0001
    assert nic.slots(frames) == first


def test_stage_takes_its_second_choice_when_the_first_is_busy(attached: Attach) -> None:
    nic = attached("stage", cell=1, busy=10)
    seen = set()
    for port in range(40):
        frame = flow(1000 + port)
        nic.set_workers(WORKERS)
        [first] = nic.slots([frame])
        busy = [(10 if slot == first else 0, 0, 0) for slot in range(1, WORKERS + 1)]
        nic.set_workers(WORKERS, busy)
        [second] = nic.slots([frame])
        nic.set_workers(WORKERS, [(10, 0, 0)] * WORKERS)
        assert nic.slots([frame]) == [0]
        assert first != 0
        assert second in ({0} | set(range(1, WORKERS + 1))) - {first}
        seen.add((first, second))
    assert len({first for first, _ in seen}) == WORKERS
    # Where both hashes name the same core the NIC's keeps it; mostly they do not.
    assert len({pair for pair in seen if pair[1]}) == WORKERS * (WORKERS - 1)


def test_stage_keeps_a_cell_together(attached: Attach) -> None:
    nic = attached("stage", cell=8, busy=10)
    [first] = nic.slots([FLOW])
    nic.set_workers(WORKERS, [(50, 0, 0)] * WORKERS)
    assert nic.slots([FLOW] * 8) == [first] * 7 + [0]


def test_twochoice_never_takes_the_worst_of_three(attached: Attach) -> None:
    nic = attached("twochoice", cell=1, limit=100)
    slots = []
    for _ in range(200):
        nic.set_workers(WORKERS, [(5, 0, 0), (3, 0, 0), (9, 0, 0)])
        slots += nic.slots([FLOW])
    counts = Counter(slots)
    # Of the three pairs two hold worker 2, the best, and one is workers 1 and 3.
    assert set(counts) == {1, 2}
    assert 40 < counts[1] < 95


def test_twochoice_reaches_every_worker_and_stays_below_the_limit(attached: Attach) -> None:
    nic = attached("twochoice", cell=1, limit=1)
    nic.set_workers(64)
    counts = Counter(nic.slots([FLOW] * 2000))
    # None is given more than one, for nothing is taken out; when a pair is full the cell stays.
    assert all(counts[slot] == 1 for slot in range(1, 65))
    assert counts[0] == 2000 - 64


@pytest.mark.parametrize("policy", ["hash", "stage", "twochoice", "elephant", "flowlet", "apart"])
@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_workers(attached: Attach, policy: str, count: int) -> None:
    nic = attached(policy)
    nic.set_workers(count)
    slots = nic.slots([flow(port) for port in range(50)])
    assert set(slots) <= set(range(count + 1))


def to(mac: str, port: int) -> bytes:
    return bytes(TO4 / Ether(dst=mac, src=PEER_MAC) / IN4 / UDP(sport=port, dport=9) / b"x")


def test_apart_gives_each_container_its_own_cores(attached: Attach) -> None:
    frames = {BOX_MAC: to(BOX_MAC, 1), VETH_MAC: to(VETH_MAC, 2)}
    nic = attached("apart", sets=4, cell=1)
    one = {mac: set(nic.slots([frame] * 20)) for mac, frame in frames.items()}
    assert all(len(slots) == 1 for slots in one.values())
    assert one[BOX_MAC] != one[VETH_MAC]
    nic = attached("apart", sets=2, cell=1)
    for mac, slots in one.items():
        # The NIC's core is the last resort of its set, the worker beside it the first choice.
        wanted = {2} if min(slots) % 2 == 0 else {1, 3}
        assert set(nic.slots([frames[mac]] * 20)) == wanted


def test_apart_fills_no_queue_of_another_set(attached: Attach) -> None:
    nic = attached("apart", sets=2, cell=1, limit=10)
    nic.set_workers(WORKERS, [(5000, 0, 0), (5000, 0, 0), (4000, 0, 0)])
    for mac, port in ((BOX_MAC, 1), (VETH_MAC, 2)):
        [slot] = set(nic.slots([to(mac, port)] * 20))
        assert slot in (0, 3), "back to the NIC's core, or to the set's least loaded worker"


def test_apart_has_no_more_sets_than_cores(attached: Attach) -> None:
    nic = attached("apart", sets=64, cell=1)
    nic.set_workers(1)
    found = [set(nic.slots([to(mac, 3)] * 5)) for mac in (BOX_MAC, VETH_MAC)]
    assert found == [{0}, {1}]


HEAVY = {"window": 1_000_000, "heavy": 20, "cell": 4, "limit": 100}


def test_elephant_sprays_what_has_grown_heavy(attached: Attach) -> None:
    nic = attached("elephant", **HEAVY)
    assert len(set(nic.slots([FLOW] * 20))) == 1
    nic.set_workers(WORKERS)
    # Nothing is taken out here, so that cells go round the workers.
    assert nic.slots([FLOW] * 20) == [1] * 4 + [2] * 4 + [3] * 4 + [1] * 4 + [2] * 4
    other = nic.slots([flow(77)] * 20)
    assert len(set(other)) == 1  # it is weighed by itself


def test_elephant_pins_what_opens_and_closes_a_connection(attached: Attach) -> None:
    nic = attached("elephant", **HEAVY)

    def segment(flags: str) -> bytes:
        return bytes(TO_BOX4 / IN4 / TCP(sport=5, dport=6, flags=flags) / b"x")

    home = nic.slots([segment("A")])[0]
    nic.slots([segment("A")] * 30)
    for _ in range(3):
        assert (
            nic.slots([segment(flags) for flags in ("S", "SA", "F", "FA", "R", "RA")]) == [home] * 6
        )
    assert len(set(nic.slots([segment("A")] * 12))) == 3


def test_elephant_is_light_again_after_a_pause(attached: Attach) -> None:
    nic = attached("elephant", **{**HEAVY, "window": 20_000})
    home = nic.slots([FLOW])[0]
    nic.slots([FLOW] * 30)
    time.sleep(0.06)
    assert nic.slots([FLOW] * 10) == [home] * 10


def test_flowlet_moves_after_a_pause_only(attached: Attach) -> None:
    nic = attached("flowlet", gap=200_000, limit=100)
    nic.set_workers(WORKERS, [(5, 0, 0), (0, 0, 0), (5, 0, 0)])
    assert nic.slots([FLOW]) == [2]
    nic.set_workers(WORKERS, [(0, 0, 0), (99, 0, 0), (5, 0, 0)])
    assert nic.slots([FLOW] * 5) == [2] * 5
    time.sleep(0.25)
    assert nic.slots([FLOW] * 3) == [1] * 3
    nic.set_workers(WORKERS, [(100, 0, 0)] * WORKERS)
    time.sleep(0.25)
    assert nic.slots([FLOW]) == [0]


def test_random_choices_differ_between_flows(attached: Attach) -> None:
    nic = attached("twochoice", cell=1, limit=8192)
    trains = {tuple(nic.slots([flow(port)] * 12)) for port in range(10)}
    assert len(trains) > 5
    assert np.unique([slot for train in trains for slot in train]).tolist() == [1, 2, 3]
