"""Log-linear histogram of times in nanoseconds: 32 buckets to an octave, 1024 in all.

The sink counts into the same buckets inside the kernel. In C, for ``__u64 v``::

    if (v < 32)
        return v;
    if (v >> 36)                    // 68.7 s and more: the last bucket
        return 1023;
    e = 63 - __builtin_clzll(v);    // floor(log2(v)), 5 to 35
    return ((e - 4) << 5) + ((v >> (e - 5)) & 31);

A bucket is at most 1/32 as wide as the values in it, and is read as its middle: a percentile is
within 1.6 % of the value that was counted, and exact below 64 ns.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

BUCKETS = 1024
_LIMIT = 1 << 36

Counts = NDArray[np.uint64]


def index(values: ArrayLike) -> NDArray[np.int64]:
    """Bucket of each value (ns, not negative; any shape, which is kept)."""
    v = np.minimum(np.asarray(values, dtype=np.uint64), np.uint64(_LIMIT - 1)).astype(np.int64)
    # frexp is exact here (v < 2**53) where log2 rounds up just below a power of two.
    exponent = np.maximum(np.frexp(v.astype(np.float64))[1] - 1, 5).astype(np.int64)
    octave = ((exponent - 4) << 5) + ((v >> (exponent - 5)) & 31)
    return np.where(v < 32, v, octave)


def bounds(bucket: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Smallest value (ns) in each bucket, and the smallest above it."""
    i = np.asarray(bucket, dtype=np.int64)
    shift = np.maximum((i >> 5) - 1, 0)
    low = np.where(i < 32, i, (32 + (i & 31)) << shift)
    return low, low + (np.int64(1) << shift)


def count(values: ArrayLike) -> Counts:
    """Histogram of ``values`` (ns): 1024 counts."""
    return np.bincount(index(values).ravel(), minlength=BUCKETS).astype(np.uint64)


def merge(histograms: Iterable[ArrayLike]) -> Counts:
    """Sum of histograms, such as those of the cores.

    Raises:
        ValueError: one of them has not 1024 counts.
    """
    total = np.zeros(BUCKETS, np.uint64)
    for one in histograms:
        counts = np.asarray(one, dtype=np.uint64)
        if counts.shape != (BUCKETS,):
            raise ValueError(f"a histogram has {BUCKETS} counts, not {counts.shape}")
        total += counts
    return total


def percentile(counts: ArrayLike, q: float) -> float | None:
    """The q-th percentile (0 to 100, nearest rank) in ns, or None of nothing counted.

    Raises:
        ValueError: q is no percentage, or ``counts`` no histogram.
    """
    if not 0 <= q <= 100:
        raise ValueError(f"a percentile lies between 0 and 100: {q}")
    cumulative = np.cumsum(merge([counts]))
    total = int(cumulative[-1])
    if total == 0:
        return None
    rank = max(1, int(np.ceil(total * q / 100)))
    low, above = bounds(np.searchsorted(cumulative, np.uint64(rank)))
    return float(low + above - 1) / 2
