"""What a run costs: the arithmetic between two readings."""

import pytest

from bench.observer import KINDS, Cost, Reading, cost
from steering.layout import counter_names, counter_words


def reading(since: dict[int, int], events: int, **ns: tuple[int, ...]) -> Reading:
    """``ns``: of each kind a time for each core; kinds left out have none."""
    times = {
        core: {kind: ns.get(kind, (0,) * len(since))[at] for kind in KINDS} for at, core in enumerate(since)
    }
    return Reading(times, since, {"softirqs": events, "polls": 2 * events})


BEFORE = reading({0: 1000, 3: 1100}, 5, idle=(600, 0), wire=(400, 0), other=(0, 1100))
AFTER = reading({0: 5000, 3: 3100}, 25, idle=(600, 500), softirq=(1000, 0), wire=(3400, 500), other=(0, 2100))


def test_shares_are_of_each_cores_own_time() -> None:
    """The cores' readings are some µs apart."""
    found = cost(BEFORE, AFTER)
    assert found.cores == {
        0: {"idle": 0, "softirq": 0.25, "wire": 0.75, "cpumap": 0, "reader": 0, "other": 0},
        3: {"idle": 0.25, "softirq": 0, "wire": 0.25, "cpumap": 0, "reader": 0, "other": 0.5},
    }
    assert all(sum(shares.values()) == pytest.approx(1) for shares in found.cores.values())
    assert found.seconds == pytest.approx(3e-6)
    assert found.wire_share == 0.75


def test_events_are_differences() -> None:
    found = cost(BEFORE, AFTER)
    assert found.events == {"softirqs": 20, "polls": 40}
    assert found.per_packet(80) == {"softirqs": 0.25, "polls": 0.5}


def test_nothing_for_no_packets_and_no_wire_without_cores() -> None:
    assert cost(BEFORE, AFTER).per_packet(0) == {}
    assert Cost(0, {}, {}).wire_share == 0


def test_kinds_and_counters_have_names_and_words() -> None:
    assert KINDS == ["idle", "softirq", "wire", "cpumap", "reader", "other"]
    names = ["softirqs", "polls", "polled", "bulks", "bulked", "sleeps", "switches", "ipis"]
    assert counter_names("observe_counter") == names
    assert all(counter_words("observe_counter").values())
