"""Order metrics: cases worked by hand, and RFC 4737's definitions transcribed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prototype.order import measure

LONGEST = 60


def extents_by_definition(arrivals: list[int]) -> list[int]:
    """RFC 4737, 3.3 and 4.2: late if below the next expected; the distance to the earliest larger."""
    once, expected, found = list(dict.fromkeys(arrivals)), 0, []
    for i, number in enumerate(once):
        if number >= expected:
            expected = number + 1
        else:
            found.append(i - min(j for j in range(i) if once[j] > number))
    return found


@st.composite
def delayed(draw: st.DrawFn) -> list[int]:
    """A flow whose packets are delayed, lost and duplicated."""
    count = draw(st.integers(0, LONGEST))
    delays = draw(st.lists(st.integers(0, 12), min_size=count, max_size=count))
    arrivals = sorted(range(count), key=lambda number: number + delays[number])
    kept = [number for number in arrivals if draw(st.integers(0, 9))]
    return kept + draw(st.lists(st.sampled_from(kept), max_size=5)) if kept else kept


@settings(derandomize=True, deadline=None, database=None)
@given(delayed() | st.lists(st.integers(0, LONGEST - 1), max_size=LONGEST))
def test_any_arrivals_are_measured_as_the_definitions_say(arrivals: list[int]) -> None:
    order, late = measure(arrivals, sent=LONGEST), extents_by_definition(arrivals)
    assert order.extents.dtype == np.int64
    assert order.extents.tolist() == late
    assert (order.received, order.lost) == (len(set(arrivals)), LONGEST - len(set(arrivals)))
    assert order.duplicates == len(arrivals) - len(set(arrivals))
    assert order.reordered == len(late)
    assert order.ratio == (len(late) / len(set(arrivals)) if arrivals else 0)
    assert order.extent_max == max(late, default=0)
    p99 = order.extent_p99
    assert sum(extent <= p99 for extent in late) * 100 >= 99 * len(late)
    assert sum(extent < p99 for extent in late) * 100 < 99 * len(late) or p99 == 0


# H05 of the cases that users of such testers met (esnet/iperf#457, #589, #1142, #1044); sent from 1 on.
@pytest.mark.parametrize(
    ("arrivals", "sent", "lost", "duplicates", "extents"),
    [
        ([1, 2, 4, 3, 5, 8, 6], 8, 1, 0, [1, 1]),
        ([1, 2, 2, 3], 3, 0, 1, []),
        ([1, 2, 4, 3, 5], 5, 0, 0, [1]),
        ([2, 3], 3, 1, 0, []),
    ],
    ids=["late is not lost", "twice", "late over an edge", "the first one missing"],
)
def test_reordering_is_not_loss(
    arrivals: list[int], sent: int, lost: int, duplicates: int, extents: list[int]
) -> None:
    order = measure(arrivals, sent, first=1)
    assert (order.lost, order.duplicates, order.reordered) == (lost, duplicates, len(extents))
    assert order.extents.tolist() == extents


def test_a_late_packet_never_makes_loss_negative() -> None:
    """H05's `1 2 4 | 3 5`: whoever reads at the edge sees one missing, then none; nothing is given back."""
    assert measure([1, 2, 4], 4, first=1).lost == 1
    assert measure([1, 2, 4, 3, 5], 5, first=1).lost == 0
    with pytest.raises(ValueError, match="number 3 arrived, but those sent are 1 from 5 on"):
        measure([3, 5], 1, first=5)


# The arrival orders of RFC 4737, section 7.
@pytest.mark.parametrize(
    ("arrivals", "extents"),
    [
        ([1, 2, 3, 5, 6, 7, 8, 4, 9, 10], [4]),
        ([1, 2, 3, 4, 7, 5, 6, 8, 9, 10], [1, 2]),
        ([1, 2, 3, 7, 8, 9, 10, 4, 5, 6, 11], [4, 5, 6]),
    ],
)
def test_examples_of_rfc_4737(arrivals: list[int], extents: list[int]) -> None:
    assert measure(arrivals).extents.tolist() == extents


def test_stretches_add_up() -> None:
    both = measure([0, 2, 1, 1], sent=4) + measure([1, 2, 3, 0], sent=5)
    assert (both.received, both.duplicates, both.reordered, both.lost) == (7, 1, 2, 2)
    assert both.extents.tolist() == [1, 3]
    assert both.ratio == 2 / 7


def test_without_what_was_sent_loss_is_unknown() -> None:
    assert measure([5, 7]).lost is None
    assert (measure([0], sent=1) + measure([5, 7])).lost is None


def test_nothing_arrived() -> None:
    order = measure([], sent=3)
    assert (order.received, order.lost, order.ratio, order.extent_p99, order.extent_max) == (0, 3, 0, 0, 0)


def test_the_largest_number_that_a_stamp_holds() -> None:
    last = 2**32 - 1
    order = measure(np.array([last, last - 1], np.uint32))
    assert order.extents.tolist() == [1]


@pytest.mark.parametrize("bad", [[[1, 2]], [0.5], ["1"], 3])
def test_what_is_no_list_of_numbers(bad: object) -> None:
    with pytest.raises(ValueError, match="sequence numbers"):
        measure(bad)  # type: ignore[arg-type]


@pytest.mark.parametrize(("sent", "first"), [(2, 0), (2, 2), (0, 0)])
def test_what_was_never_sent_cannot_arrive(sent: int, first: int) -> None:
    with pytest.raises(ValueError, match="those sent are"):
        measure([1, 2], sent, first)


def test_sent_is_a_number_of_packets() -> None:
    with pytest.raises(ValueError, match="number of packets, not -1"):
        measure([], -1)
