"""Verdicts: how often they are wrong on equal variants, and whether a real difference is found."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.statistics import compare, interval

Array = NDArray[np.float64]


def noisy(rng: np.random.Generator, shape: tuple[int, ...], noise: float) -> tuple[Array, Array]:
    """Two equal variants, run in random order in each round, on a machine such as ours.

    Lognormal noise of one run, a random walk over the runs (frequency, neighbours), and one run
    in twenty that loses 10 to 50 % to something else.
    """
    runs = (*shape[:-1], 2 * shape[-1])
    drift = np.cumsum(rng.normal(0, 0.02, runs), axis=-1)
    values = np.exp(drift + rng.normal(0, noise, runs))
    values *= 1 - np.where(rng.random(runs) < 0.05, rng.uniform(0.1, 0.5, runs), 0)
    first, second = values[..., 0::2], values[..., 1::2]
    swapped = rng.random(first.shape) < 0.5
    return np.where(swapped, second, first), np.where(swapped, first, second)


@pytest.mark.parametrize("rounds", [6, 8, 10, 12, 20])
@pytest.mark.parametrize("noise", [0.01, 0.03, 0.06])
def test_equal_variants_differ_at_most_once_in_twenty(rounds: int, noise: float) -> None:
    rng = np.random.default_rng(rounds)
    a, b = noisy(rng, (200, rounds), noise)
    verdicts = [compare(x, y).verdict for x, y in zip(a, b, strict=True)]
    assert sum(verdict in ("better", "worse") for verdict in verdicts) <= 10
    assert "invalid" not in verdicts


@pytest.mark.parametrize(("rounds", "found"), [(8, 0.8), (10, 0.85), (12, 0.93), (20, 0.99)])
@pytest.mark.parametrize("effect", [1.10, 1 / 1.10])
def test_a_planted_difference_of_ten_per_cent_is_found(
    rounds: int, found: float, effect: float
) -> None:
    a, b = noisy(np.random.default_rng(1), (200, rounds), 0.03)
    expected = "better" if effect > 1 else "worse"
    verdicts = [compare(x, y * effect).verdict for x, y in zip(a, b, strict=True)]
    assert verdicts.count(expected) >= found * len(verdicts)
    assert not {"better", "worse"} - {expected} & set(verdicts)


@pytest.mark.parametrize("rounds", [6, 8, 10, 20])
def test_the_interval_holds_what_it_says_and_the_bootstrap_does_not(rounds: int) -> None:
    rng = np.random.default_rng(2)
    a, b = noisy(rng, (2000, rounds), 0.03)
    ratios = b / a
    ours = [interval(row) for row in ratios]
    assert 0.935 < np.mean([one.low <= 1 <= one.high for one in ours]) < 0.97
    if rounds > 10:
        return
    drawn = rng.integers(0, rounds, (len(ratios), 400, rounds))
    medians = np.median(np.take_along_axis(ratios[:, None, :], drawn, axis=2), axis=2)
    low, high = np.quantile(medians, [0.025, 0.975], axis=1)
    assert np.mean((low <= 1) & (high >= 1)) < 0.945


def test_exact_order_statistics() -> None:
    # n=6: smallest to largest holds the median with 96.9 %, the next pair with 78.1 %.
    values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    result = interval(values)
    assert result.median == 3.5
    assert 1 < result.low < 2
    assert result.low - 1 == pytest.approx(6 - result.high)
    assert (interval(values, 0.96875).low, interval(values, 0.96875).high) == (1, 6)
    assert interval([7.0]) == interval([7.0, 7.0, 7.0])


def test_intervals_shrink_with_rounds_and_hold_the_median() -> None:
    rng = np.random.default_rng(3)
    widths = []
    for n in range(6, 40):
        found = [interval(rng.normal(10, 1, n)) for _ in range(200)]
        assert all(one.low <= one.median <= one.high for one in found)
        widths.append(np.mean([one.high - one.low for one in found]))
    assert widths[0] > 2 * widths[-1]


def test_equivalent_needs_the_whole_interval_within_the_margin() -> None:
    a = np.full(8, 100.0)
    wobble = np.array([-0.01, 0.01, -0.005, 0.005, 0.0, 0.002, -0.002, 0.008])
    assert compare(a, a * (1 + wobble)).verdict == "equivalent"
    assert compare(a, a * (1 + wobble), margin=0.001).verdict == "inconclusive"
    assert compare(a, a * (1.04 + wobble)).verdict == "better"


def test_less_may_be_better() -> None:
    a, b = np.full(6, 10.0), np.full(6, 8.0)
    assert compare(a, b).verdict == "worse"
    latency = compare(a, b, better="lower")
    assert latency.verdict == "better"
    assert latency.ratio.median == pytest.approx(0.8)
    assert compare(b, a, better="lower").verdict == "worse"


def test_reasons_make_it_invalid_but_keep_the_figure() -> None:
    result = compare(
        [1.0] * 6, [2.0] * 6, invalid=["steal 12 % in round 3", "steal 12 % in round 3"]
    )
    assert result.verdict == "invalid"
    assert result.reasons == ("steal 12 % in round 3",)
    assert result.ratio.median == 2


@pytest.mark.parametrize("bad", [0.0, math.nan, -1.0, math.inf])
def test_nothing_to_divide_by_is_invalid(bad: float) -> None:
    result = compare([1.0, bad, 1.0, 1.0, 1.0, 1.0], [1.0] * 6)
    assert result.verdict == "invalid"
    assert result.reasons == ("nothing to compare with in round 1",)
    nothing = compare([bad] * 6, [1.0] * 6)
    assert nothing.verdict == "invalid"
    assert math.isnan(nothing.ratio.median)


def test_a_variant_that_delivers_nothing_is_worse() -> None:
    assert compare([1.0] * 6, [0.0] * 6).verdict == "worse"


def test_few_rounds_come_with_the_remedy() -> None:
    few = compare([1.0] * 3, [5.0] * 3)
    assert few.verdict == "inconclusive"
    assert few.warnings == ("3 rounds can't support a verdict: use at least 6",)
    assert compare([1.0] * 6, [5.0] * 6).warnings == ()


def test_inconclusive_says_how_many_rounds_might_decide() -> None:
    a = np.ones(6)
    assert "about 24 rounds" in compare(a, [0.95, 1.0, 1.02, 1.04, 1.05, 1.06]).warnings[0]
    assert "quieter machine" in compare(a, [0.4, 0.7, 0.9, 1.1, 1.9, 2.5]).warnings[0]


@pytest.mark.parametrize(("a", "b"), [([], []), ([1.0], [1.0, 2.0]), ([[1.0]], [[1.0]])])
def test_rounds_must_pair_up(a: list[float], b: list[float]) -> None:
    with pytest.raises(ValueError, match="round"):
        compare(a, b)


@pytest.mark.parametrize("values", [[], [1.0, math.nan]])
def test_an_interval_needs_numbers(values: list[float]) -> None:
    with pytest.raises(ValueError, match="number"):
        interval(values)
