"""Log-linear histogram of times in nanoseconds: 32 buckets to an octave, 1024 in all.

The same buckets as in ``xdp/include/histogram.h``, which counts inside the kernel and states the formula.
A bucket is at most 1/32 as wide as the values in it and is read as its middle: a percentile is within
1.6 % of the value that was counted, exact below 64 ns. What takes 2**36 ns (69 s) or more is in the last.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

BUCKETS = 1024
_MOST = (1 << 36) - 1


def index(values: ArrayLike) -> NDArray[np.int64]:
    """Bucket of each value (ns, not negative; any shape, which is kept)."""
    v = np.minimum(np.asarray(values, np.uint64), np.uint64(_MOST)).astype(np.int64)
    # frexp is exact here (v < 2**53), where log2 rounds up just below a power of two.
    exponent = np.maximum(np.frexp(v.astype(float))[1] - 1, 5).astype(np.int64)
    return np.where(v < 32, v, (exponent - 4) * 32 + (v >> (exponent - 5)) - 32)


def bounds(bucket: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Smallest value (ns) in each bucket, and the smallest above it."""
    i = np.asarray(bucket, np.int64)
    shift = np.maximum((i >> 5) - 1, 0)
    low = np.where(i < 32, i, (32 + (i & 31)) << shift)
    return low, low + (np.int64(1) << shift)


def count(values: ArrayLike) -> NDArray[np.uint64]:
    """Histogram of ``values`` (ns): 1024 counts. Those of several cores add up."""
    return np.bincount(index(values).ravel(), minlength=BUCKETS).astype(np.uint64)


def percentile(counts: ArrayLike, q: float) -> float | None:
    """The q-th percentile (0 to 100, nearest rank) in ns, or None of nothing counted.

    Raises:
        ValueError: q is no percentage, or ``counts`` are not 1024.
    """
    given = np.asarray(counts, np.uint64)
    if given.shape != (BUCKETS,):
        raise ValueError(f"a histogram has {BUCKETS} counts, not those of shape {given.shape}")
    if not 0 <= q <= 100:
        raise ValueError(f"a percentile lies between 0 and 100, not at {q}")
    cumulative = np.cumsum(given)
    if not (total := int(cumulative[-1])):
        return None
    rank = max(1, math.ceil(total * q / 100))
    low, above = bounds(np.searchsorted(cumulative, np.uint64(rank)))
    return float(low + above - 1) / 2
