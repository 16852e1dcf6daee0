"""Verdicts: how often they are wrong on equal variants, and whether a real difference is found.

``series.json`` holds what runs at the highest load gave, in earlier experiments of this project on the
reference machine: in the order of time, each run's rate over its variant's median. So consecutive runs differ
by the machine's noise and drift alone, as the two runs of a round do when variants are equal. Left out are
seven runs of flow_udp that the wire limited.
"""

import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.statistics import LIMITED, Comparison, compare, interval

SERIES = [np.array(runs) for runs in json.loads(Path(__file__).with_name("series.json").read_text()).values()]
TIMES = 200


def equal(rng: np.random.Generator, rounds: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """So many rounds of consecutive recorded runs; who goes first is drawn in each, as when measuring."""
    series = SERIES[rng.integers(len(SERIES))]
    start = rng.integers(len(series) - 2 * rounds + 1)
    pairs = rng.permuted(series[start : start + 2 * rounds].reshape(rounds, 2), axis=1)
    return pairs[:, 0], pairs[:, 1]


def verdicts(rounds: int, effect: float = 1) -> Counter[str]:
    rng = np.random.default_rng(rounds)
    pairs = [equal(rng, rounds) for _ in range(TIMES)]
    return Counter(compare(a, b * effect).verdict for a, b in pairs)


@pytest.mark.parametrize("rounds", [6, 7, 8, 10, 16, 60])
def test_equal_variants_differ_at_most_once_in_twenty(rounds: int) -> None:
    found = verdicts(rounds)
    assert found["better"] + found["worse"] <= TIMES * 0.05
    assert not found["invalid"]


@pytest.mark.parametrize(("effect", "verdict"), [(1.1, "better"), (1 / 1.1, "worse")])
def test_a_planted_tenth_is_found(effect: float, verdict: str) -> None:
    """One run of half a second varies by a sixth on that machine: so it takes that many rounds."""
    found = verdicts(60, effect)
    assert found[verdict] >= TIMES * 0.9
    assert found["better"] + found["worse"] == found[verdict]


def test_few_rounds_find_what_is_large() -> None:
    assert verdicts(8, 2)["better"] >= TIMES * 0.9


def test_an_interval_is_the_same_for_a_seed() -> None:
    values = SERIES[0][:100]
    assert interval(values) == interval(values)
    assert interval(values, seed=1) != interval(values, seed=2)
    assert interval(values).median == np.median(values)


def test_a_comparison_is_the_same_for_a_seed() -> None:
    a, b = SERIES[0][:60], SERIES[0][60:120]
    found = [compare(a, b, seed=seed).ratio for seed in range(4)]
    assert found == [interval(b / a, seed=seed) for seed in range(4)]
    assert len(set(found)) > 1, "a seed that changes nothing is not used"


@pytest.mark.parametrize("count", [1, 2, 3, 6, 25])
def test_an_interval_holds_the_median_and_no_more_than_the_values(count: int) -> None:
    values = SERIES[0][:count]
    found = interval(values)
    assert values.min() <= found.low <= found.median <= found.high <= values.max()
    assert interval(values, 0.5).high <= found.high


WOBBLE = np.array([-0.01, 0.01, -0.005, 0.005, 0.0, 0.002, -0.002, 0.008])


def test_equivalent_needs_the_whole_interval_within_the_margin() -> None:
    a = np.full(8, 100.0)
    assert compare(a, a * (1 + WOBBLE)).verdict == "equivalent"
    assert compare(a, a * (1 + WOBBLE), margin=0.001).verdict == "inconclusive"
    small = compare(a, a * (1.025 + WOBBLE))
    assert small.ratio.low > 1 and small.verdict == "inconclusive", "it differs, but by less than the margin"
    small = compare(a * (1.025 + WOBBLE), a)
    assert small.ratio.high < 1 and small.verdict == "inconclusive", "so it is where less is found"
    assert compare(a, a * (1.05 + WOBBLE)).verdict == "better"


def test_less_may_be_better() -> None:
    a, b = np.full(6, 10.0), np.full(6, 8.0)
    assert compare(a, b).verdict == "worse"
    assert compare(a, b, better="lower").verdict == "better"
    assert compare(b, a, better="lower").verdict == "worse"
    assert compare(a, b, better="lower").ratio.median == pytest.approx(0.8)


def test_reasons_make_it_invalid_but_keep_the_figure() -> None:
    found = compare([1.0] * 6, [2.0] * 6, invalid=["steal 12 %", "steal 12 %"], limited_b=True)
    assert (found.verdict, found.reasons, found.ratio.median) == ("invalid", ("steal 12 %",), 2)


def test_nothing_to_divide_by_is_invalid() -> None:
    found = compare([1, 0, 1, 1, 1, 0], [1] * 6)
    assert (found.verdict, found.reasons) == ("invalid", ("nothing to compare with in round 1, 5",))
    assert found.ratio.median == 1
    assert math.isnan(compare([0] * 6, [1] * 6).ratio.median)


def test_a_variant_that_delivers_nothing_is_worse() -> None:
    assert compare([1] * 6, [0] * 6).verdict == "worse"


@pytest.mark.parametrize("b", [2, 1, 0.5], ids=["better", "equivalent", "worse"])
def test_what_the_wire_limits_neither_wins_nor_loses(b: float) -> None:
    def measured(limited_a: bool, limited_b: bool) -> Comparison:
        return compare([1] * 6, [b] * 6, limited_a=limited_a, limited_b=limited_b)

    for sides in ((True, False), (False, True), (True, True)):
        found = measured(*sides)
        assert (found.verdict, found.warnings, found.ratio.median) == ("inconclusive", (LIMITED,), b)
    assert measured(False, False).verdict != "inconclusive"


def test_few_rounds_come_with_the_remedy() -> None:
    few = compare([1.0] * 5, [5.0] * 5)
    assert few.verdict == "inconclusive"
    assert few.warnings == ("5 rounds can't support a verdict: use at least 6",)
    assert compare([1.0] * 6, [5.0] * 6).warnings == ()


def test_inconclusive_says_how_many_rounds_might_decide() -> None:
    a = np.ones(6)
    assert "about 24 rounds might decide" in compare(a, [0.96, 0.98, 1.0, 1.02, 1.03, 1.03]).warnings[0]
    assert "quieter machine" in compare(a, [0.4, 0.7, 0.9, 1.1, 1.9, 2.5]).warnings[0]


@pytest.mark.parametrize(
    ("a", "b"),
    [([], []), ([1], [1, 2]), ([[1]], [[1]]), ([1], [math.nan]), ([math.inf], [1]), ([-1], [1])],
)
def test_rounds_must_pair_up_and_be_rates(a: list[float], b: list[float]) -> None:
    with pytest.raises(ValueError, match="round"):
        compare(a, b)


@pytest.mark.parametrize("margin", [0, -0.1, math.nan])
def test_a_margin_is_above_nothing(margin: float) -> None:
    with pytest.raises(ValueError, match="margin"):
        compare([1], [1], margin=margin)


@pytest.mark.parametrize("values", [[], [1, math.nan], [math.inf], 1, [[1]]])
def test_an_interval_needs_numbers(values: list[float]) -> None:
    with pytest.raises(ValueError, match="values, each of them finite"):
        interval(values)


@pytest.mark.parametrize("confidence", [0, 1, 95])
def test_a_confidence_is_a_share(confidence: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        interval([1], confidence)


def drifting(rng: np.random.Generator, batches: int, drift: float) -> tuple[np.ndarray, list[int]]:
    """Ratios of equals whose batches differ: logarithms of both spreads are normal, a round's is a tenth."""
    shape = (batches, 7)
    found = np.exp(rng.normal(0, drift, (batches, 1)) + rng.normal(0, 0.1, shape))
    return found.ravel(), [batch for batch in range(batches) for _ in range(7)]


def misses(batches: int, drift: float, *, known: bool) -> float:
    """Share of 200 intervals that do not hold the true median, 1; ``known``: they know of the batches."""
    rng = np.random.default_rng(batches)
    missed = 0
    for _ in range(TIMES):
        values, labels = drifting(rng, batches, drift)
        found = interval(values, batches=labels if known else None)
        missed += not found.low <= 1 <= found.high
    return missed / TIMES


@pytest.mark.parametrize(("batches", "drift"), [(3, 0.1), (5, 0.2)])
def test_an_interval_of_batches_holds_what_drifts_between_them(batches: int, drift: float) -> None:
    assert misses(batches, drift, known=True) <= 0.1


def test_one_that_knows_no_batches_promises_too_much() -> None:
    assert misses(5, 0.2, known=False) > 0.3


def test_batches_of_unequal_size_are_resampled_as_they_are() -> None:
    values = [1.0, 1.0, 1.0, 5.0]
    found = interval(values, batches=[3, 3, 3, 9])
    assert (found.median, found.low, found.high) == (1, 1, 5)
    assert interval(values, batches=[0, 0, 0, 0]) == interval(values)
    assert interval(values, batches=[1, 1, 2, 2], seed=3) == interval(values, batches=[7, 7, 0, 0], seed=3)


def test_a_comparison_of_batches_says_that_batches_are_what_it_lacks() -> None:
    a, labels = np.ones(21), [0] * 7 + [1] * 7 + [2] * 7
    b = np.repeat([0.9, 1.0, 1.15], 7)
    assert compare(a, b).verdict == "inconclusive"
    found = compare(a, b, batches=labels)
    assert (found.ratio.low, found.ratio.high) == (0.9, 1.15)
    assert "more batches might decide" in found.warnings[0]
    a[0] = 0
    assert compare(a, b, batches=labels).reasons == ("nothing to compare with in round 0",)


def test_each_value_has_a_batch() -> None:
    with pytest.raises(ValueError, match="3 values need as many batches, not 2"):
        interval([1, 2, 3], batches=[0, 1])
