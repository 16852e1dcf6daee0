"""How far packets of a flow arrive out of order: the metrics of RFC 4737 and RFC 5236.

Everything is computed from the sequence numbers of one flow in the order of their arrival, in
linear time. RFC 4737 describes what each packet suffers, RFC 5236 what a receiver needs to repair
it. Of a packet that arrives twice only the first copy counts (RFC 4737, section 3.3; RFC 5236
discards later ones too); a lost packet leaves a hole that neither displaces nor delays others.
"""

# numba has no types for its decorators.
# mypy: disable-error-code="untyped-decorator"

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

# What arrives further from its place counts as lost in RFC 5236. More than our queues hold.
THRESHOLD = 1024
_WIDEST = 1 << 30

Array = NDArray[np.int64]

_ABSENT, _WINDOW, _BUFFER = 0, 1, 2


@dataclass(frozen=True)
class OrderSummary:
    """A few figures of an :class:`Order`; ratios are shares of the packets that arrived once.

    ``lost``: numbers that never came, between the smallest and the largest that did.
    ``reordered``: RFC 4737's ratio (4.1). ``extent_*``: packets by which a reordered one is late
    (4.2). ``three_reordered``: share that makes TCP see three duplicate ACKs (5.3, n=3).
    ``displaced``: share not in its place (RFC 5236, reorder density), ``displacement_p99`` by how
    many places. ``beyond``: share further away than the threshold, left out of both densities.
    ``buffer_*``: packets that a receiver holds to restore the order (buffer-occupancy density);
    a maximum at the threshold means that or more.
    """

    received: int
    duplicates: int
    lost: int
    reordered: float
    extent_mean: float
    extent_p99: int
    extent_max: int
    three_reordered: float
    displaced: float
    displacement_p99: int
    beyond: float
    buffer_mean: float
    buffer_p99: int
    buffer_max: int


@dataclass(frozen=True)
class Order:
    """Counts of packets; those of several flows add up.

    ``extent[e]``: packets with reordering extent e (0: in order). ``runs[n]``: packets that are
    n-reordered for that n at most. ``displacement[threshold + d]``: packets d places late (early
    if negative). ``occupancy[k]``: arrivals that left k packets in the hypothetical buffer.
    """

    duplicates: int
    lost: int
    extent: Array
    runs: Array
    displacement: Array
    occupancy: Array

    def __add__(self, other: "Order") -> "Order":
        """Both flows together; the thresholds must be the same."""
        return Order(
            self.duplicates + other.duplicates,
            self.lost + other.lost,
            _padded_sum(self.extent, other.extent),
            _padded_sum(self.runs, other.runs),
            self.displacement + other.displacement,
            self.occupancy + other.occupancy,
        )

    @property
    def received(self) -> int:
        """Packets that arrived, each counted once."""
        return int(self.extent.sum())

    def n_reordered(self, n: int) -> float:
        """Share of packets that are n-reordered (RFC 4737, 5.3)."""
        return _share(int(self.runs[n:].sum()), self.received)

    def density(self) -> NDArray[np.float64]:
        """Reorder density RD over displacements -threshold to threshold (RFC 5236, 4)."""
        return self.displacement / max(1, int(self.displacement.sum()))

    def occupancy_density(self) -> NDArray[np.float64]:
        """Reorder buffer-occupancy density RBD over 0 to threshold packets (RFC 5236, 5)."""
        return self.occupancy / max(1, int(self.occupancy.sum()))

    def summary(self) -> OrderSummary:
        """The figures that stand in a table."""
        middle = len(self.displacement) // 2
        distance = self.displacement[middle:].copy()
        distance[1:] += self.displacement[:middle][::-1]
        placed, late = int(distance.sum()), self.extent.copy()
        late[:1] = 0
        return OrderSummary(
            received=self.received,
            duplicates=self.duplicates,
            lost=self.lost,
            reordered=_share(int(late.sum()), self.received),
            extent_mean=_mean(late),
            extent_p99=_percentile(late, 0.99),
            extent_max=_percentile(late, 1),
            three_reordered=self.n_reordered(3),
            displaced=_share(placed - int(distance[0]), placed),
            displacement_p99=_percentile(distance, 0.99),
            beyond=_share(self.received - placed, self.received),
            buffer_mean=_mean(self.occupancy),
            buffer_p99=_percentile(self.occupancy, 0.99),
            buffer_max=_percentile(self.occupancy, 1),
        )


def measure(sequence: ArrayLike, threshold: int = THRESHOLD) -> Order:
    """Order of one flow.

    Args:
        sequence: sequence numbers (any integers, without wrap-around) in order of arrival, 1-d.
        threshold: RFC 5236's displacement and buffer-occupancy threshold in packets, at least 1.

    Raises:
        ValueError: numbers too far apart to be one flow's, or not 1-d.
    """
    arrivals = np.asarray(sequence, dtype=np.int64)
    if arrivals.ndim != 1 or threshold < 1:
        raise ValueError("order needs a 1-d array of sequence numbers and a threshold of 1 or more")
    if not len(arrivals):
        none = np.zeros(0, np.int64)
        empty = np.zeros(2 * threshold + 1, np.int64)
        return Order(0, 0, none, none, empty, empty[: threshold + 1].copy())
    arrivals = arrivals - arrivals.min()
    span = int(arrivals.max()) + 1
    if span > _WIDEST:
        raise ValueError(f"sequence numbers span {span}: they can't be those of one flow")
    once = _first_copies(arrivals, span)
    return Order(
        duplicates=len(arrivals) - len(once),
        lost=span - len(once),
        extent=np.bincount(_extents(once)),
        runs=np.bincount(_runs(once)),
        displacement=_displacements(arrivals, span, threshold),
        occupancy=_occupancies(arrivals, span, threshold),
    )


def _padded_sum(a: Array, b: Array) -> Array:
    total = np.zeros(max(len(a), len(b)), np.int64)
    total[: len(a)] += a
    total[: len(b)] += b
    return total


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _mean(counts: Array) -> float:
    return _share(int((counts * np.arange(len(counts))).sum()), int(counts.sum()))


def _percentile(counts: Array, q: float) -> int:
    """Nearest-rank percentile (q from 0 to 1) of the indices; 0 of nothing."""
    cumulative = np.cumsum(counts)
    if not len(counts) or not cumulative[-1]:
        return 0
    rank = max(1, int(np.ceil(q * int(cumulative[-1]))))
    return int(np.searchsorted(cumulative, rank))


@njit(cache=True)
def _first_copies(arrivals: Array, span: int) -> Array:
    seen = np.zeros(span, np.bool_)
    once = np.empty_like(arrivals)
    n = 0
    for s in arrivals:
        if not seen[s]:
            seen[s] = True
            once[n] = s
            n += 1
    return once[:n]


@njit(cache=True)
def _extents(once: Array) -> Array:
    """RFC 4737, 4.2.1: i - j for the earliest arrival j with a larger number; 0 if in order."""
    extents = np.zeros(len(once), np.int64)
    # The earliest larger arrival is always a record: search among those.
    records = np.empty(len(once), np.int64)
    n = 0
    for i, s in enumerate(once):
        if n == 0 or s > once[records[n - 1]]:
            records[n] = i
            n += 1
            continue
        low, high = 0, n - 1
        while low < high:
            middle = (low + high) // 2
            if once[records[middle]] > s:
                high = middle
            else:
                low = middle + 1
        extents[i] = i - records[low]
    return extents


@njit(cache=True)
def _runs(once: Array) -> Array:
    """RFC 4737, 5.3: how many arrivals right before each all have larger numbers."""
    runs = np.empty(len(once), np.int64)
    # Indices of arrivals whose numbers increase: the last one below s ends its run.
    stack = np.empty(len(once), np.int64)
    n = 0
    for i, s in enumerate(once):
        while n > 0 and once[stack[n - 1]] > s:
            n -= 1
        runs[i] = i - 1 - stack[n - 1] if n > 0 else i
        stack[n] = i
        n += 1
    return runs


@njit(cache=True)
def _displacements(arrivals: Array, span: int, threshold: int) -> Array:
    """RFC 5236, 4: frequencies of receive index minus sequence number.

    A window of the next arrivals tells a packet that is late from one that is lost, whose receive
    index is left out.
    """
    frequency = np.zeros(2 * threshold + 1, np.int64)
    state = np.zeros(span + 1, np.uint8)
    window = np.empty(threshold + 1, np.int64)
    head, size, following, receive = 0, 0, 0, 0
    while True:
        while size <= threshold and following < len(arrivals):
            s = arrivals[following]
            following += 1
            if s >= receive and state[s] == _ABSENT:
                state[s] = _WINDOW
                window[(head + size) % len(window)] = s
                size += 1
        if size == 0:
            return frequency
        # Never runs off: for each late packet in the window an early one is in the buffer.
        while state[receive] == _ABSENT:
            receive += 1
        s = window[head]
        head = (head + 1) % len(window)
        size -= 1
        state[s] = _ABSENT
        displacement = receive - s
        if abs(displacement) > threshold:
            continue
        frequency[threshold + displacement] += 1
        if state[receive] == _BUFFER:
            state[receive] = _ABSENT
        if displacement < 0:
            state[s] = _BUFFER
        receive += 1


@njit(cache=True)
def _occupancies(arrivals: Array, span: int, threshold: int) -> Array:
    """RFC 5236, 5: frequencies of packets held in the buffer that restores the order.

    The smallest number among the next arrivals is the one expected, so that nothing waits for a
    lost packet.
    """
    frequency = np.zeros(threshold + 1, np.int64)
    state = np.zeros(span + 1, np.uint8)
    window = np.empty(threshold + 1, np.int64)
    head, size, following, expected, held = 0, 0, 0, -1, 0
    while True:
        while size <= threshold and following < len(arrivals):
            s = arrivals[following]
            following += 1
            if s > expected and state[s] == _ABSENT:
                state[s] = _WINDOW
                window[(head + size) % len(window)] = s
                size += 1
        if size == 0:
            return frequency
        expected = max(expected, 0)
        while state[expected] != _WINDOW:
            expected += 1
        s = window[head]
        head = (head + 1) % len(window)
        size -= 1
        if s > expected:
            state[s] = _BUFFER
            held += 1
        else:
            state[s] = _ABSENT
            while expected < span and state[expected] != _WINDOW:
                if state[expected] == _BUFFER:
                    state[expected] = _ABSENT
                    held -= 1
                expected += 1
        frequency[min(held, threshold)] += 1
