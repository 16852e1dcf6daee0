"""The histogram's buckets follow the header's formula; percentiles keep the promised error."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.histogram import BUCKETS, bounds, count, index, percentile
from xdp import INCLUDE


def by_formula(value: int) -> int:
    """The contract in histogram.h, on Python's integers."""
    if value < 32:
        return value
    if value >> 36:
        return BUCKETS - 1
    exponent = value.bit_length() - 1
    return (exponent - 4) * 32 + (value >> (exponent - 5)) - 32


@settings(derandomize=True, deadline=None, database=None)
@given(st.integers(0, 2**64 - 1) | st.integers(0, 2**37) | st.integers(0, 4096))
def test_index_follows_the_formula(value: int) -> None:
    assert index(value) == by_formula(value)


def test_index_around_powers_of_two() -> None:
    values = [2**power + off for power in range(1, 64) for off in (-1, 0, 1)]
    assert index(values).tolist() == [by_formula(value) for value in values]


def test_buckets_are_contiguous_narrow_and_as_many_as_the_header_has() -> None:
    buckets = np.arange(BUCKETS)
    low, above = bounds(buckets)
    assert (low[0], above[-1]) == (0, 2**36)
    assert (low[1:] == above[:-1]).all()
    assert (index(low) == buckets).all() and (index(above - 1) == buckets).all()
    assert ((above - low)[32:] <= low[32:] / 32).all()
    assert f"#define HISTOGRAM_BUCKETS {BUCKETS}\n" in (INCLUDE / "histogram.h").read_text()


@settings(derandomize=True, deadline=None, database=None)
@given(st.lists(st.integers(0, 2**36 - 1), min_size=1, max_size=200), st.floats(0, 100))
def test_percentiles_are_within_three_per_cent(values: list[int], q: float) -> None:
    exact = sorted(values)[max(1, math.ceil(len(values) * q / 100)) - 1]
    found = percentile(count(values), q)
    assert found is not None
    assert abs(found - exact) <= min(0.03, 1 / 64) * exact
    if exact < 64:
        assert found == exact


def test_histograms_of_several_cores_add_up() -> None:
    assert (count([1, 2]) + count([10**6] * 7) == count([1, 2, *[10**6] * 7])).all()
    assert count([]).shape == (BUCKETS,)


def test_nothing_counted_has_no_percentile() -> None:
    assert percentile(np.zeros(BUCKETS), 50) is None


@pytest.mark.parametrize("bad", [[1, 2], 1, np.zeros((2, BUCKETS))])
def test_what_is_no_histogram(bad: object) -> None:
    with pytest.raises(ValueError, match="1024 counts"):
        percentile(bad, 50)  # type: ignore[arg-type]


@pytest.mark.parametrize("q", [-1, 101, math.nan])
def test_what_is_no_percentage(q: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 100"):
        percentile(count([1]), q)
