"""Who sends what, and when: the wire's lanes, one for each core that sends (xdp/include/wire.h)."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.traffic import Traffic
from steering.layout import header

_LAYOUT = header("wire.h")
TURN, BATCH = _LAYOUT.struct("wire_turn"), _LAYOUT.struct("wire_batch")
MOST_TURNS, MOST_GAPS = (_LAYOUT.constants[name] for name in ("MOST_TURNS", "MOST_GAPS"))
_EVEN = 1000
"""Gaps of a constant rate: so many are right together, though each is of whole ns."""
_SEED = 2544


@dataclass(frozen=True)
class Lane:
    """The flows that one core sends, and when."""

    core: int
    turns: NDArray[np.void]
    """Of dtype TURN, taken in turn."""
    batches: NDArray[np.void]
    """Of dtype BATCH, taken in turn; empty: as fast as they go."""
    gaps: NDArray[np.uint64]
    """ns between the arrivals of frames, where the NIC waits for more; else empty."""


def lanes(traffic: Traffic, cores: Sequence[int]) -> list[Lane]:
    """Flow i is sent from ``cores[i % len(cores)]``; a lane for each core, the first flow's first.

    A lane's part of the rate is its flows' share. Arrivals are the same whenever this is called.
    """
    all_turns = turns(traffic.weights)
    core_of = np.array([cores[flow % len(cores)] for flow in range(traffic.flows)])
    owners = list(dict.fromkeys(core_of.tolist()))
    made = []
    for number, core in enumerate(owners):
        part = all_turns[core_of[all_turns["flow"]] == core]
        between = gaps(traffic, len(part) / len(all_turns), MOST_GAPS // len(owners), seed=number)
        made.append(
            Lane(core, part, batches(traffic, between), between if traffic.moderation else between[:0])
        )
    return made


def turns(weights: Sequence[int]) -> NDArray[np.void]:
    """Flow i in ``weights[i]`` places, as evenly spread as can be; in each place its next sequence number."""
    flows = np.repeat(np.arange(len(weights)), weights)
    steps = np.repeat(weights, weights)
    nth = np.concatenate([np.arange(weight) for weight in weights])
    order = np.argsort((nth + 0.5) / steps, kind="stable")
    found = np.zeros(len(flows), TURN)
    found["flow"], found["step"], found["sequence"] = flows[order], steps[order], nth[order]
    return found


def gaps(traffic: Traffic, share: float, most: int, seed: int = 0) -> NDArray[np.uint64]:
    """ns from one arrival to the next, for that share of the rate: right to the ns over all of them.

    Frames arrive singly where the NIC waits for more, else whole batches do.

    A Poisson stream's are exponential draws, the same for every run and variant, and come again after
    ``most`` arrivals.
    """
    if traffic.rate is None:
        return np.zeros(0, np.uint64)
    unit = 1 if traffic.moderation else traffic.batch
    mean = unit * 1e9 / (traffic.rate * share)
    if traffic.pattern == "poisson":
        relative = np.random.default_rng((_SEED, seed)).exponential(size=most)
        relative *= most / relative.sum()
    elif traffic.pattern == "bursts":
        length = max(1, round(traffic.burst / unit))
        relative = np.zeros(length)
        relative[-1] = length
    else:
        relative = np.ones(_EVEN)
    return np.diff(np.rint(np.cumsum(relative) * mean), prepend=0).astype(np.uint64)


def batches(traffic: Traffic, between: NDArray[np.uint64]) -> NDArray[np.void]:
    """What is handed over at once, and when, of arrivals with these gaps.

    A NIC that waits hands over when a batch is full, or the first frame of it has waited long enough; at the
    end of the table, all that there is.
    """
    if not traffic.moderation:
        found = np.zeros(len(between), BATCH)
        found["gap"], found["frames"] = between, traffic.batch
        return found
    arrivals = np.cumsum(between).tolist()
    rows, first, last, hold = [], 0, 0, 1000 * traffic.moderation
    while first < len(arrivals):
        end = min(bisect_right(arrivals, arrivals[first] + hold), first + traffic.batch)
        is_full, is_last = end - first == traffic.batch, end == len(arrivals)
        release = arrivals[end - 1] if is_full or is_last else arrivals[first] + hold
        rows.append((release - last, end - first, 0))
        first, last = end, release
    return np.array(rows, BATCH)
