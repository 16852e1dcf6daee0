"""How far packets of one flow arrive out of order: reordered ratio and extent of RFC 4737.

All of it follows from the sequence numbers in order of arrival. Of a packet that arrives twice only the
first copy counts (RFC 4737, section 3.3). A lost packet is a hole: it makes no other packet late.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)  # a comparison of arrays is no truth value
class Order:
    """Counts of packets; those of several flows, or stretches of one, add up."""

    received: int
    """Packets that arrived, each counted once."""
    duplicates: int
    """Arrivals beyond each packet's first."""
    reordered: int
    """Packets that arrived after one with a larger number (RFC 4737, 3.3)."""
    extents: NDArray[np.int64]
    """By how many packets each reordered one is late (4.2), in order of arrival; shape (reordered,)."""
    lost: int | None = None
    """Packets that never came; None where nobody said what was sent."""

    @property
    def ratio(self) -> float:
        """Reordered packets as a share of those received (4.1), 0 to 1; 0 of nothing."""
        return self.reordered / self.received if self.received else 0.0

    @property
    def extent_p99(self) -> int:
        """99 % of the reordered packets are late by at most so many (nearest rank); 0 if none is."""
        count = len(self.extents)
        return int(np.sort(self.extents)[(99 * count + 99) // 100 - 1]) if count else 0

    @property
    def extent_max(self) -> int:
        """By how many packets the latest is late; 0 if none is."""
        return int(self.extents.max(initial=0))

    def __add__(self, other: "Order") -> "Order":
        """Both together; their loss is known only if that of both is."""
        known = self.lost is not None and other.lost is not None
        return Order(
            self.received + other.received,
            self.duplicates + other.duplicates,
            self.reordered + other.reordered,
            np.concatenate([self.extents, other.extents]),
            (self.lost or 0) + (other.lost or 0) if known else None,
        )


def measure(arrivals: ArrayLike, sent: int | None = None, first: int = 0) -> Order:
    """Order of one flow.

    Args:
        arrivals: sequence numbers (integers, without wrap-around) in order of arrival, 1-d.
        sent: how many were sent, numbered ``first`` to ``first + sent - 1``; needed only for ``lost``.
        first: the smallest number sent. Without ``sent``, nothing depends on it.

    Raises:
        ValueError: no integers, not 1-d, or a number that was never sent: loss cannot be negative.
    """
    given = np.asarray(arrivals)
    if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
        raise ValueError("order needs a list of sequence numbers, integers in order of arrival")
    once = _first_copies(given.astype(np.int64))
    if sent is not None:
        _require_sent(once, first, sent)
    extents = _extents(once)
    return Order(
        received=len(once),
        duplicates=len(given) - len(once),
        reordered=len(extents),
        extents=extents,
        lost=None if sent is None else sent - len(once),
    )


def _require_sent(once: NDArray[np.int64], first: int, sent: int) -> None:
    if sent < 0:
        raise ValueError(f"'sent' is a number of packets, not {sent}")
    if len(wrong := once[(once < first) | (once >= first + sent)]):
        raise ValueError(f"sequence number {wrong[0]} arrived, but those sent are {sent} from {first} on")


def _first_copies(arrivals: NDArray[np.int64]) -> NDArray[np.int64]:
    _, where = np.unique(arrivals, return_index=True)
    return arrivals[np.sort(where)]


def _extents(once: NDArray[np.int64]) -> NDArray[np.int64]:
    """RFC 4737, 4.2.1: of each reordered arrival i, i - j for the earliest arrival j with a larger number.

    The running maximum never falls, and it first exceeds a number exactly where that earliest one came.
    """
    highest = np.maximum.accumulate(once)
    late = np.flatnonzero(once < highest)
    return (late - np.searchsorted(highest, once[late], side="right")).astype(np.int64)
