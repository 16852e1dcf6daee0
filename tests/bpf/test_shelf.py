"""The policies on the shelf: the slots that a train of packets gets, in the kernel.

Three workers unless said otherwise; 0 is the NIC's own core.
"""

from collections.abc import Callable

import pytest
from frames import DATAGRAM, IN4, TO_BOX4, over
from nic import Nic
from scapy.layers.inet import UDP

from steering.registry import names

pytestmark = pytest.mark.root

FLOW = bytes(TO_BOX4 / IN4 / DATAGRAM)
OTHER_FLOW = bytes(TO_BOX4 / IN4 / UDP(sport=7, dport=8) / b"another flow")

ROWS = [
    ("safe", {}, [0] * 8),
    ("adaptive", {}, [0] * 8),
    ("local", {}, [0] * 8),
    ("pipeline", {}, [0] * 8),
    ("pin", {}, [1] * 8),
    ("pin", {"worker": 2}, [2] * 8),
    ("pin", {"worker": 64}, [3] * 8),
    ("roundrobin", {}, [0, 1, 2, 3, 0, 1, 2, 3]),
    ("roundrobin", {"local": 0}, [1, 2, 3, 1, 2, 3, 1, 2]),
    ("flowcell", {"cell": 4, "local": 25}, [1] * 4 + [2] * 4 + [3] * 4 + [0] * 4 + [1] * 4),
    ("flowcell", {"cell": 1, "local": 50}, [1, 0, 2, 0, 3, 0, 1, 0]),
    ("flowcell", {"cell": 1, "local": 67}, [1, 0, 0, 2, 0, 0, 3]),
    ("flowcell", {"cell": 3, "local": 0}, [1] * 3 + [2] * 3 + [3] * 3 + [1] * 3),
    ("flowcell", {"cell": 3, "local": 100}, [0] * 7),
    ("backlog", {"cell": 2, "limit": 1}, [1, 1, 2, 2, 3, 3, 0, 0]),
    ("backlog", {"cell": 2, "limit": 100}, [1, 1, 2, 2, 3, 3, 1, 1, 2, 2, 3, 3]),
    (
        "backlog",
        {"cell": 3, "limit": 4},
        ([1] * 3 + [2] * 3 + [3] * 3) * 2 + [0] * 3,
    ),
]


@pytest.fixture
def attached(compiled: Callable[[str], Nic]) -> Callable[..., Nic]:
    def of(policy: str, **knobs: int) -> Nic:
        nic = compiled(policy)
        nic.reset()
        nic.forget_flows()
        nic.set_knobs(**nic.unit.plan.policy.values({k: str(v) for k, v in knobs.items()}))
        return nic

    return of


Attach = Callable[..., Nic]


@pytest.mark.parametrize(
    ("policy", "knobs", "slots"), ROWS, ids=[f"{name}:{knobs}" for name, knobs, _ in ROWS]
)
def test_slots_of_a_train(
    attached: Attach, policy: str, knobs: dict[str, int], slots: list[int]
) -> None:
    assert attached(policy, **knobs).slots([FLOW] * len(slots)) == slots


def test_cells_of_ours_hold_a_decision(compiled: Callable[[str], Nic]) -> None:
    nic = compiled("roundrobin:cells=3,local=0")
    nic.reset()
    nic.forget_flows()
    assert nic.slots([FLOW] * 7 + [OTHER_FLOW] * 4) == [1] * 3 + [2] * 3 + [3] + [1] * 3 + [2]
    assert nic.slots([FLOW] * 3) == [3, 3, 1]


BY_CHOICE = {"apart", "hash", "stage", "twochoice", "elephant", "flowlet", "stream"}
"""In test_choice.py and test_stream.py: what they do is not one train of slots."""


def test_every_policy_has_its_rows() -> None:
    assert {policy for policy, _, _ in ROWS} | BY_CHOICE == set(names())


@pytest.mark.parametrize(
    ("backlogs", "slot"),
    [
        # (sent, lost, done) of each worker
        ([(10, 0, 0), (5, 0, 0), (7, 0, 0)], 2),
        ([(100, 0, 95), (5, 0, 1), (50, 0, 47)], 3),
        ([(5, 0, 0), (9, 6, 0), (4, 0, 0)], 2),
        ([(5, 0, 0), (5, 0, 0), (5, 0, 0)], 1),
        ([(9, 0, 0), (9, 0, 0), (9, 0, 0)], 1),
        ([(10, 0, 0), (10, 0, 0), (10, 0, 0)], 0),
        ([(1 << 30, 0, 0), (10, 0, 0), (11, 0, 0)], 0),
        ([(1 << 40, 0, (1 << 40) - 3), (4, 0, 0), (5, 0, 0)], 1),
        ([(3, 0, 0), (5, 0, 6), (1, 0, 0)], 2),  # a moment's negative difference reads as 0
        ([(0, 0, 1 << 20), (0, 0, 0), (0, 0, 0)], 1),
    ],
)
def test_backlog_takes_the_least_loaded_below_its_limit(
    attached: Attach, backlogs: list[tuple[int, int, int]], slot: int
) -> None:
    nic = attached("backlog", cell=1, limit=10)
    nic.set_workers(3, backlogs)
    assert nic.slots([FLOW]) == [slot]


def test_backlog_stays_where_a_cell_has_begun(attached: Attach) -> None:
    nic = attached("backlog", cell=4, limit=10)
    nic.set_workers(3, [(5, 0, 0), (0, 0, 0), (5, 0, 0)])
    assert nic.slots([FLOW]) == [2]
    nic.set_workers(3, [(0, 0, 0), (99, 0, 0), (0, 0, 0)])
    assert nic.slots([FLOW] * 4) == [2, 2, 2, 1]


def test_backlog_looks_at_all_64_workers(attached: Attach) -> None:
    nic = attached("backlog", cell=1, limit=8192)
    for last in (1, 2, 63, 64):
        nic.set_workers(last, [(100, 0, 0)] * (last - 1) + [(99, 0, 0)])
        assert nic.slots([FLOW]) == [last]


@pytest.mark.parametrize("policy", names())
def test_without_workers_everything_stays(attached: Attach, policy: str) -> None:
    nic = attached(policy)
    nic.set_workers(0)
    assert nic.slots([FLOW] * 5) == [0] * 5


@pytest.mark.parametrize("policy", ["flowcell", "backlog"])
def test_each_flow_has_cells_of_its_own(attached: Attach, policy: str) -> None:
    nic = attached(policy, cell=2, **({"local": 0} if policy == "flowcell" else {"limit": 99}))
    slots = nic.slots([FLOW, OTHER_FLOW] * 3)
    alone = {"flowcell": ([1, 1, 2], [1, 1, 2]), "backlog": ([1, 1, 3], [2, 2, 3])}[policy]
    assert (slots[::2], slots[1::2]) == alone


@pytest.mark.parametrize("policy", names())
def test_knobs_change_while_packets_flow(attached: Attach, policy: str) -> None:
    nic = attached(policy)
    knobs = nic.unit.plan.policy.knobs
    for value in ("low", "high", "default"):
        nic.set_knobs(**{name: getattr(knob, value) for name, knob in knobs.items()})
        assert "refused_slot" not in nic.slots([FLOW] * 70)


def test_fragments_of_a_datagram_do_not_disturb(attached: Attach) -> None:
    nic = attached("roundrobin")
    fragment = bytes(TO_BOX4 / over(IN4, flags="MF") / DATAGRAM)
    assert nic.slots([FLOW, fragment, FLOW]) == [0, "pass_fragment", 1]
