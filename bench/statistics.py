"""What a set of rounds says: medians with intervals, and a verdict on two variants.

The unit is the run. A round runs each variant once, so that the ratio within a round is free of whatever
drifts over minutes; the figure of a comparison is the median of those ratios.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Verdict = Literal["better", "worse", "equivalent", "inconclusive", "invalid"]
Better = Literal["higher", "lower"]

MARGIN = 0.03
CONFIDENCE = 0.95
FEWEST_ROUNDS = 6
LIMITED = "wire-limited runs are marked and never won"
_RESAMPLES = 4000
_MOST_ROUNDS_ADVISED = 200


@dataclass(frozen=True)
class Interval:
    """A median and the interval that holds the true one with the asked confidence."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Variant b against variant a."""

    ratio: Interval
    """Of b/a, whichever direction is better; NaN where no round has one."""
    verdict: Verdict
    rounds: int
    reasons: tuple[str, ...] = ()
    """Why the verdict is ``invalid``."""
    warnings: tuple[str, ...] = ()
    """What weakens the result, with its remedy."""


def interval(
    values: ArrayLike,
    confidence: float = CONFIDENCE,
    seed: int = 0,
    batches: Sequence[int] | None = None,
) -> Interval:
    """Median of ``values`` (1-d, any unit), with the percentile bootstrap's interval; the same for a seed.

    ``batches`` names the batch of each value. Where there are several, batches are resampled, and then the
    values within each: rounds of one batch share what drifts from batch to batch, and are no independent
    witnesses of it. What counts for the percentiles is then the number of batches.

    The percentiles are moved outwards as Hesterberg advises ("What Teachers Should Know About the
    Bootstrap", The American Statistician 69, 2015: the expanded percentile interval). Unmoved, they call
    6 to 12 % of equal variants different at 6 to 8 rounds of recorded runs (tests/unit/series.json).

    Raises:
        ValueError: no values, one that is not finite, a confidence not between 0 and 1, or not one batch
            a value.
    """
    found = np.asarray(values, float)
    if found.ndim != 1 or not found.size or not np.isfinite(found).all():
        raise ValueError("an interval needs a list of values, each of them finite")
    if not 0 < confidence < 1:
        raise ValueError(f"a confidence lies between 0 and 1, not at {confidence}")
    labels = np.zeros(len(found), int) if batches is None else np.asarray(batches)
    if labels.shape != found.shape:
        raise ValueError(f"{len(found)} values need as many batches, not {len(labels)}")
    parts = [found[labels == label] for label in dict.fromkeys(labels.tolist())]
    medians = _resampled(parts, np.random.default_rng(seed))
    tail = _tail(len(found) if len(parts) == 1 else len(parts), confidence)
    low, high = np.quantile(medians, [tail, 1 - tail])
    return Interval(float(np.median(found)), float(low), float(high))


def _resampled(parts: Sequence[NDArray[np.float64]], rng: np.random.Generator) -> NDArray[np.float64]:
    """Medians of resamples: of as many batches, drawn with repetition, and as many values of each of them."""
    if len(parts) == 1:
        [only] = parts
        return np.median(only[rng.integers(0, len(only), (_RESAMPLES, len(only)))], axis=1)
    sizes = np.array([len(part) for part in parts])
    padded = np.full((len(parts), sizes.max()), math.nan)
    for row, part in zip(padded, parts, strict=True):
        row[: len(part)] = part
    batches = rng.integers(0, len(parts), (_RESAMPLES, len(parts), 1))
    places = (rng.random((_RESAMPLES, *padded.shape)) * sizes[batches]).astype(int)
    drawn = padded[batches, places]
    drawn[np.arange(padded.shape[1]) >= sizes[batches]] = math.nan
    found: NDArray[np.float64] = np.nanmedian(drawn.reshape(_RESAMPLES, -1), axis=1)
    return found


def _tail(count: int, confidence: float) -> float:
    """Share of the resamples beyond either end: Phi(-t * sqrt(n / (n - 1))), t of n - 1 degrees of freedom.

    Student's quantile by its expansion in 1/n (Abramowitz and Stegun, 26.7.5).
    """
    normal, degrees = NormalDist(), max(1, count - 1)
    z = normal.inv_cdf((1 + confidence) / 2)
    t = z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
    return normal.cdf(-t * math.sqrt(count / degrees))


def compare(
    a: ArrayLike,
    b: ArrayLike,
    *,
    margin: float = MARGIN,
    better: Better = "higher",
    invalid: Sequence[str] = (),
    limited_a: bool = False,
    limited_b: bool = False,
    seed: int = 0,
    batches: Sequence[int] | None = None,
) -> Comparison:
    """Compare b with a, each with one value a round (same order, not negative), by the median of b/a.

    ``batches``: each round's, as for :func:`interval`.

    * ``better``, ``worse``: the interval excludes 1 and the median differs by more than ``margin``, for
      nobody cares about less. ``better="lower"`` is for latency, loss and cost.
    * ``equivalent``: the whole interval lies within the margin.
    * ``invalid``: ``invalid`` gives reasons (packets not conserved, settings not in effect, steal above
      the bound), or a round of a has nothing to divide by.
    * ``inconclusive``: none of these, fewer than 6 rounds, or a side that the wire limited (``limited_a``,
      ``limited_b``): it may do more than was measured. A warning says which, and what might help.

    Raises:
        ValueError: no rounds, not the same number of them, a value negative or not finite, a margin not
            above 0, or not one batch a round.
    """
    values_a, values_b = _rounds(a), _rounds(b)
    if len(values_a) != len(values_b):
        raise ValueError(f"rounds come in pairs, but a has {len(values_a)} and b has {len(values_b)}")
    if not margin > 0:
        raise ValueError(f"a margin is above 0, not {margin}")
    rounds, usable = len(values_a), values_a > 0
    reasons = (*dict.fromkeys(invalid), *_unusable(usable))
    if not usable.any():
        return Comparison(Interval(math.nan, math.nan, math.nan), "invalid", rounds, reasons)
    of = None if batches is None else [batch for batch, use in zip(batches, usable, strict=True) if use]
    ratio = interval(values_b[usable] / values_a[usable], seed=seed, batches=of)
    if reasons:
        return Comparison(ratio, "invalid", rounds, reasons)
    if limited_a or limited_b:
        return Comparison(ratio, "inconclusive", rounds, warnings=(LIMITED,))
    if rounds < FEWEST_ROUNDS:
        few = f"{rounds} rounds can't support a verdict: use at least {FEWEST_ROUNDS}"
        return Comparison(ratio, "inconclusive", rounds, warnings=(few,))
    verdict = _verdict(ratio, margin, better)
    several = len(set(batches or ())) > 1
    warnings = (_remedy(ratio, rounds, margin, several),) if verdict == "inconclusive" else ()
    return Comparison(ratio, verdict, rounds, warnings=warnings)


def _rounds(values: ArrayLike) -> NDArray[np.float64]:
    found = np.asarray(values, float)
    if found.ndim != 1 or not found.size or not (np.isfinite(found) & (found >= 0)).all():
        raise ValueError("a comparison needs one value a round, finite and not negative")
    return found


def _unusable(usable: NDArray[np.bool_]) -> tuple[str, ...]:
    named = ", ".join(str(number) for number in np.flatnonzero(~usable))
    return (f"nothing to compare with in round {named}",) if named else ()


def _verdict(ratio: Interval, margin: float, better: Better) -> Verdict:
    least, most = 1 / (1 + margin), 1 + margin
    if least <= ratio.low and ratio.high <= most:
        return "equivalent"
    if ratio.low > 1 and ratio.median > most:
        return "better" if better == "higher" else "worse"
    if ratio.high < 1 and ratio.median < least:
        return "worse" if better == "higher" else "better"
    return "inconclusive"


def _remedy(ratio: Interval, rounds: int, margin: float, several: bool) -> str:
    """How many rounds might decide: an interval shrinks with the root of their number."""
    half = (ratio.high - ratio.low) / 2 / ratio.median if ratio.median else math.inf
    needed = rounds * max(4.0, (half / margin) ** 2)
    known = f"the median is known to ±{half:.0%}"
    if several:
        return f"{known}: more batches might decide, or longer runs on a quieter machine"
    if needed <= _MOST_ROUNDS_ADVISED:
        return f"{known}: about {math.ceil(needed)} rounds might decide"
    return f"{known}: use longer runs on a quieter machine"
