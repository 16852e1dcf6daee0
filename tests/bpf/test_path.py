"""Whether a flow is clear: a yes is certain, whatever the counters of its path say."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from frames import BOX, DATAGRAM, IN4, TO4, TO_BOX4, VETH_MAC, over
from nic import Nic
from scapy.layers.inet import UDP

from steering import bpf
from steering.layout import header

pytestmark = pytest.mark.root

FOLLOWER = f"@{Path(__file__).parent / 'policies/follower'}"
FLOW = bytes(TO_BOX4 / IN4 / DATAGRAM)
OTHER_FLOW = bytes(TO_BOX4 / IN4 / UDP(sport=7, dport=8) / b"another flow")
_WORKERS = header("policy.h").struct("workers")
_LOCAL = np.dtype([("sent", "<u8"), ("started", "<u8"), ("finished", "<u8"), ("line", "<u8", 5)])


@pytest.fixture
def nic(compiled: Callable[[str], Nic]) -> Nic:
    made = compiled(FOLLOWER)
    made.reset()
    made.forget_flows()
    for core in bpf_cores():
        made.unit.module.put("local_paths", core, bytes(_LOCAL.itemsize))
    return made


def bpf_cores() -> range:
    return range(bpf.possible_cpus())


def send(nic: Nic, slot: int, frame: bytes = FLOW) -> int:
    """Steer one; whether the policy was told that its flow is clear."""
    nic.set_knobs(slot=slot)
    assert nic.slots([frame]) == [slot]
    return int(nic.witnessed()[0]["clear"])


def worker(nic: Nic, slot: int, **counts: int) -> None:
    """Change a worker's counters."""
    table = nic.unit.module.get("workers", _WORKERS).copy()
    for name, value in counts.items():
        table["worker"][name][slot - 1] = value
    nic.unit.module.put("workers", 0, table)


def test_a_new_flow_is_clear(nic: Nic) -> None:
    assert send(nic, 0) == 1


def test_clear_when_the_last_packet_is_through(nic: Nic) -> None:
    send(nic, 1)
    assert send(nic, 1) == 0
    worker(nic, 1, done=2, started=2, finished=1)
    assert send(nic, 1) == 0  # one of two
    worker(nic, 1, finished=2)
    assert send(nic, 2) == 0  # two of three
    worker(nic, 1, finished=3)
    assert send(nic, 2) == 0  # it has gone to the second worker since
    worker(nic, 2, finished=2)
    assert send(nic, 2) == 1


def test_other_flows_of_the_worker_do_not_matter_once_it_is_through(nic: Nic) -> None:
    send(nic, 1)
    for _ in range(5):
        send(nic, 1, OTHER_FLOW)
    worker(nic, 1, finished=1)
    assert send(nic, 1) == 1
    assert send(nic, 1, OTHER_FLOW) == 0


@pytest.mark.parametrize(
    ("sent", "lost", "finished", "clear"),
    [
        # It was the 11th; 4 of those before it had been lost then.
        (11, 4, 6, 0),
        (11, 4, 7, 1),
        (20, 9, 6, 0),  # later ones were lost: it is still behind six
        (20, 13, 6, 0),
        (20, 14, 6, 1),  # nothing is on its way to this worker at all
        (20, 5, 6, 0),
        (30, 4, 7, 1),
    ],
)
def test_drops_are_reconciled(nic: Nic, sent: int, lost: int, finished: int, clear: int) -> None:
    worker(nic, 1, sent=10, lost=4, finished=6)
    assert send(nic, 1) == 1
    worker(nic, 1, sent=sent, lost=lost, finished=finished)
    assert send(nic, 1) == clear


def local(nic: Nic) -> tuple[int, np.void]:
    """The NIC core that has counted, and what."""
    for core in bpf_cores():
        row = nic.unit.module.get("local_paths", _LOCAL, core)
        if row["sent"]:
            return core, row
    raise AssertionError("no core has counted")


def test_a_local_path_is_followed_too(nic: Nic) -> None:
    send(nic, 0)
    core, row = local(nic)
    assert row["sent"] == 1
    # The core's own receive polls may end meanwhile: nothing was started, so nothing has finished.
    assert send(nic, 0) == 0
    nic.unit.module.put("local_paths", core, struct.pack("=8Q", 2, 2, 2, *[0] * 5))
    assert send(nic, 1) == 1


def test_what_cannot_be_followed_is_never_clear(nic: Nic) -> None:
    frame = bytes(TO4 / over(BOX, dst=VETH_MAC) / IN4 / DATAGRAM)
    for slot in (0, 0, 1, 1):
        assert send(nic, slot, frame) == 0


def test_flows_of_one_place_share_its_path(nic: Nic) -> None:
    """None is forgotten for the sake of another: an entry that was would be thought clear."""
    places = header("maps.h").constants["MAX_FLOWS"]
    first = None
    for port in range(1, 60000):
        frame = bytes(TO_BOX4 / IN4 / UDP(sport=port, dport=9) / b"x")
        nic.set_knobs(slot=1)
        nic.slots([frame])
        place = int(nic.witnessed()[0]["flow"])
        assert place == int(nic.witnessed()[0]["hash"]) % places
        if first is None:
            first = place
        elif place == first:
            assert nic.witnessed()[0]["clear"] == 0
            return
    raise AssertionError("no two flows met")


def test_pressure_is_told(nic: Nic) -> None:
    for level in (0, 5, 8):
        nic.press(level)
        send(nic, 0)
        assert nic.witnessed()[0]["pressed"] == level
