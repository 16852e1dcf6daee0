"""Order metrics: hand-worked sequences, and plain transcriptions of the RFCs' definitions."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prototype.order import Order, measure


def first_copies(arrivals: list[int]) -> list[int]:
    return list(dict.fromkeys(arrivals))


def extents_by_definition(arrivals: list[int]) -> list[int]:
    """RFC 4737, 3.3 and 4.2: late if below the next expected; distance to the earliest larger."""
    s, expected, found = first_copies(arrivals), 0, []
    for i in range(len(s)):
        if s[i] >= expected:
            expected = s[i] + 1
            found.append(0)
        else:
            found.append(i - min(j for j in range(i) if s[j] > s[i]))
    return found


def n_reordered_by_definition(arrivals: list[int], n: int) -> int:
    """RFC 4737, 5.3: all of the n arrivals right before have larger numbers."""
    s = first_copies(arrivals)
    return sum(all(s[j] > s[i] for j in range(i - n, i)) for i in range(n, len(s)))


def density_by_definition(arrivals: list[int], threshold: int) -> Counter[int]:
    """RFC 5236, 4: the published algorithm, step by step."""
    stream, window, buffer = iter(arrivals), [], []
    receive, found = min(arrivals, default=0), Counter[int]()

    def following() -> None:
        for s in stream:
            if s >= receive and s not in buffer and s not in window:
                window.append(s)
                return

    while len(window) <= threshold:
        before = len(window)
        following()
        if len(window) == before:
            break
    while window:
        if receive in window or receive in buffer:
            s = window.pop(0)
            displacement = receive - s
            if abs(displacement) <= threshold:
                found[displacement] += 1
                if receive in buffer:
                    buffer.remove(receive)
                if displacement < 0:
                    buffer.append(s)
                receive += 1
            following()
        else:
            smallest = min(window + buffer)
            receive = smallest if receive < smallest else receive + 1
    return found


def occupancy_by_definition(arrivals: list[int], threshold: int) -> Counter[int]:
    """RFC 5236, 5: the published algorithm, step by step."""
    stream, window, buffer = iter(arrivals), [], []
    expected, found = -1, Counter[int]()

    def following() -> None:
        for s in stream:
            if s > expected and s not in buffer and s not in window:
                window.append(s)
                return

    while len(window) <= threshold:
        before = len(window)
        following()
        if len(window) == before:
            break
    while window:
        expected = min(window)
        s = window.pop(0)
        if s == expected:
            while buffer and min(window + buffer) in buffer:
                buffer.remove(min(window + buffer))
            expected = min(window, default=expected)
        else:
            buffer.append(s)
        # Windows of a few packets can let more wait than the threshold.
        found[min(len(buffer), threshold)] += 1
        following()
    return found


@st.composite
def streams(draw: st.DrawFn) -> list[int]:
    """A flow whose packets are delayed, lost and duplicated."""
    n = draw(st.integers(1, 60))
    reach = draw(st.integers(0, 12))
    delays = draw(st.lists(st.integers(0, reach), min_size=n, max_size=n))
    sent = sorted(range(n), key=lambda i: (i + delays[i], i))
    lost = draw(st.sets(st.sampled_from(sent), max_size=n // 3))
    arrivals = [s for s in sent if s not in lost]
    for s in draw(st.lists(st.sampled_from(sent), max_size=5)):
        arrivals.insert(draw(st.integers(0, len(arrivals))), s)
    return arrivals


def check(arrivals: list[int], threshold: int) -> None:
    order = measure(arrivals, threshold)
    extents = extents_by_definition(arrivals)
    assert order.extent.tolist() == np.bincount(extents).tolist()
    assert order.received == len(extents)
    assert order.duplicates == len(arrivals) - len(extents)
    assert order.lost == max(arrivals) - min(arrivals) + 1 - len(extents)
    for n in (1, 2, 3, 7):
        assert order.runs[n:].sum() == n_reordered_by_definition(arrivals, n)
    density = density_by_definition(arrivals, threshold)
    places = range(-threshold, threshold + 1)
    assert order.displacement.tolist() == [density[place] for place in places]
    occupancy = occupancy_by_definition(arrivals, threshold)
    assert order.occupancy.tolist() == [occupancy[held] for held in range(threshold + 1)]


@given(streams(), st.integers(1, 20))
@settings(deadline=None, max_examples=200)
def test_delayed_lost_and_duplicated(arrivals: list[int], threshold: int) -> None:
    if arrivals:
        check(arrivals, threshold)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=60), st.integers(1, 6))
@settings(deadline=None, max_examples=200)
def test_any_sequence_at_all(arrivals: list[int], threshold: int) -> None:
    check(arrivals, threshold)


# The three arrival orders of RFC 4737, section 7.
@pytest.mark.parametrize(
    ("arrivals", "extents", "n_reordered"),
    [
        ([1, 2, 3, 5, 6, 7, 8, 4, 9, 10], {4: 4}, {4: 4}),
        ([1, 2, 3, 4, 7, 5, 6, 8, 9, 10], {5: 1, 6: 2}, {5: 1}),
        ([1, 2, 3, 7, 8, 9, 10, 4, 5, 6, 11], {4: 4, 5: 5, 6: 6}, {4: 4}),
    ],
)
def test_examples_of_rfc_4737(
    arrivals: list[int], extents: dict[int, int], n_reordered: dict[int, int]
) -> None:
    order = measure(arrivals)
    late = {e: int(k) for e, k in enumerate(order.extent) if e and k}
    assert late == dict(Counter(extents.values()))
    runs = {n: int(k) for n, k in enumerate(order.runs) if n and k}
    assert runs == dict(Counter(n_reordered.values()))
    summary = order.summary()
    assert summary.reordered == pytest.approx(len(extents) / len(arrivals))
    assert summary.extent_max == max(extents.values())
    assert summary.extent_mean == pytest.approx(sum(extents.values()) / len(extents))


def densities(order: Order) -> tuple[dict[int, float], dict[int, float]]:
    middle = len(order.displacement) // 2
    density = {i - middle: float(p) for i, p in enumerate(order.density()) if p}
    held = {i: float(p) for i, p in enumerate(order.occupancy_density()) if p}
    return density, held


def test_densities_worked_by_hand() -> None:
    # Receive indices 1..6: packet 4 comes one place early, packet 3 one late; one packet waits.
    assert densities(measure([1, 2, 4, 3, 5, 6], 3)) == (
        {-1: 1 / 6, 0: 4 / 6, 1: 1 / 6},
        {0: 5 / 6, 1: 1 / 6},
    )


def test_a_lost_packet_displaces_nobody() -> None:
    # 3 never comes: its receive index is skipped, and nothing waits for it.
    assert densities(measure([1, 2, 4, 5, 6, 7, 8], 2)) == ({0: 1.0}, {0: 1.0})


def test_a_duplicate_counts_once() -> None:
    order = measure([1, 2, 2, 4, 3, 4, 5], 3)
    assert order.duplicates == 2
    assert densities(order) == (
        {-1: 1 / 5, 0: 3 / 5, 1: 1 / 5},
        {0: 4 / 5, 1: 1 / 5},
    )
    assert order.summary().reordered == pytest.approx(1 / 5)


def test_what_is_later_than_the_threshold_is_lost_to_the_densities() -> None:
    summary = measure([*range(2, 12), 1, 12, 13], 4).summary()
    assert summary.beyond == pytest.approx(1 / 13)
    assert summary.displaced == 0
    assert summary.extent_max == 10


def test_flows_add_up() -> None:
    one, other = [1, 2, 3, 5, 6, 7, 8, 4], [1, 3, 2, 2, 5]
    both = measure(one, 8) + measure(other, 8)
    assert (both.received, both.duplicates, both.lost) == (12, 1, 1)
    assert both.summary().reordered == pytest.approx(2 / 12)
    assert both.summary().extent_max == 4
    assert both.displacement.sum() == 12


def test_in_order_and_nothing() -> None:
    summary = measure(np.arange(100, 10_100, dtype=np.uint32)).summary()
    assert (summary.received, summary.reordered, summary.extent_max) == (10_000, 0, 0)
    assert (summary.displaced, summary.buffer_max, summary.beyond) == (0, 0, 0)
    assert measure([]).summary().received == 0
    assert (measure([]) + measure([5])).summary().received == 1


def test_two_cores_that_take_cells_in_turn() -> None:
    # Cells of 64, every second one 50 packets late: the shape that spraying gives.
    cells = np.arange(64 * 200).reshape(-1, 64)
    when = np.arange(64 * 200).reshape(-1, 64) + np.where(np.arange(200) % 2, 50, 0)[:, None]
    summary = measure(cells.ravel()[np.argsort(when.ravel(), kind="stable")]).summary()
    assert 0.2 < summary.reordered < 0.6
    # Overtaken by the 50 that caught up and by their like of the next cell.
    assert 50 < summary.extent_max <= 100
    assert summary.buffer_max <= 50


@pytest.mark.parametrize("bad", [[[1, 2]], [0, 1 << 40]])
def test_what_cannot_be_one_flow(bad: list[int]) -> None:
    with pytest.raises(ValueError, match="sequence numbers"):
        measure(bad)
