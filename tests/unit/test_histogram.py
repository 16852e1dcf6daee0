"""The histogram's buckets are those of the C formula; percentiles stay within the stated error."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.histogram import BUCKETS, bounds, count, index, merge, percentile


def in_c(v: int) -> int:
    """The formula of the docstring, on Python's integers."""
    if v < 32:
        return v
    if v >> 36:
        return 1023
    e = v.bit_length() - 1
    return ((e - 4) << 5) + ((v >> (e - 5)) & 31)


@given(st.integers(0, 2**64 - 1) | st.integers(0, 2**37) | st.integers(0, 4096))
def test_index_is_the_c_formula(v: int) -> None:
    assert index(v) == in_c(v)


@pytest.mark.parametrize("power", range(1, 40))
def test_index_around_powers_of_two(power: int) -> None:
    around = [2**power - 1, 2**power, 2**power + 1]
    assert index(around).tolist() == [in_c(v) for v in around]


def test_buckets_are_contiguous_and_narrow() -> None:
    low, above = bounds(np.arange(BUCKETS))
    assert low[0] == 0
    assert (low[1:] == above[:-1]).all()
    assert above[-1] == 2**36
    assert (index(low) == np.arange(BUCKETS)).all()
    assert (index(above - 1) == np.arange(BUCKETS)).all()
    assert ((above - low)[32:] <= low[32:] / 32).all()


@given(st.lists(st.integers(0, 2**36 - 1), min_size=1, max_size=200), st.floats(0, 100))
def test_percentiles_are_within_two_per_cent(values: list[int], q: float) -> None:
    found = percentile(count(values), q)
    exact = np.percentile(values, q, method="inverted_cdf")
    assert found is not None
    assert abs(found - exact) <= exact / 64
    if exact < 64:
        assert found == exact


def test_merge_adds_up() -> None:
    one, other = count([1, 2, 3]), count([10**6] * 7)
    both = merge([one, other])
    assert both.sum() == 10
    assert (both == count([1, 2, 3, *[10**6] * 7])).all()
    assert merge([]).sum() == 0


def test_nothing_counted_has_no_percentile() -> None:
    assert percentile(np.zeros(BUCKETS), 50) is None


def test_what_is_no_histogram_or_percentage() -> None:
    with pytest.raises(ValueError, match="1024"):
        merge([[1, 2]])
    with pytest.raises(ValueError, match="between 0 and 100"):
        percentile(count([1]), 101)
