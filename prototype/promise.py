"""Whether a policy keeps on a trace what it promises: slots that exist, and each flow's order.

The model is twin.c's. A worker's queue is first in first out, and it takes packets out at the speed that the
trace says; a packet for the NIC's own core leaves at once; at the end all queues empty, one after the other.
A packet overtakes another one if it came later, is of the same flow (the same hash), and leaves earlier. Lost
packets never leave.

strict
    No packet overtakes another one.
cell
    Packets of one cell, a run of one flow's packets to the same slot, do not overtake each other: as a slot
    is one queue, that always holds. So cells must be as long as promised: where the policy has a knob
    ``cell``, so many packets at least lie between two changes of a flow's slot. Flows that share their state
    with others are excepted, and packets that open or end a connection: those may go a way of their own, and
    count with the cells on both sides.
unordered
    Nothing.
"""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from prototype.trace import CONTROL, Trace
from prototype.twin import Replay
from steering.policy import Order


def broken(order: Order, knobs: Mapping[str, int], trace: Trace, replay: Replay) -> Iterator[tuple[str, str]]:
    """What is not as promised, ``slot`` or ``order``, and in words how often and the first instance."""
    wrong = np.flatnonzero(replay.slots > trace.workers)
    if len(wrong):
        first = f"first {replay.slots[wrong[0]]} for packet {wrong[0]}, of 0 to {trace.workers}"
        yield "slot", f"{len(wrong)} slots that do not exist: {first}"
    by_flow = np.argsort(trace.packets["hash"], kind="stable")
    if order == Order.STRICT:
        yield from (("order", what) for what in _overtaking(by_flow, trace, replay))
    elif order == Order.CELL and knobs.get("cell", 0) > 1:
        yield from (("order", what) for what in _short(by_flow, knobs["cell"], trace, replay))


def _overtaking(by_flow: NDArray[np.intp], trace: Trace, replay: Replay) -> Iterator[str]:
    """A packet overtakes if one before it in its flow leaves after it: the latest of those before tells."""
    assert replay.left is not None
    queued = by_flow[replay.left[by_flow] > 0]
    left, flow = replay.left[queued].astype(np.int64), _number(trace.packets["hash"][queued])
    latest = np.maximum.accumulate(left + flow * (len(trace) + 1)) - flow * (len(trace) + 1)
    wrong = queued[left < latest]
    if len(wrong):
        at = int(wrong.min())
        before = queued[(trace.packets["hash"][queued] == trace.packets["hash"][at]) & (queued < at)]
        behind = int(before[replay.left[before] > replay.left[at]][-1])
        yield (
            f"{len(wrong)} packets overtake others of their flow: first packet {at} (slot {replay.slots[at]})"
            f" packet {behind} (slot {replay.slots[behind]})"
        )


def _short(by_flow: NDArray[np.intp], cell: int, trace: Trace, replay: Replay) -> Iterator[str]:
    """Runs between two changes of slot that are shorter than a cell; a flow's first and last run may be."""
    own = by_flow[_alone(trace)[by_flow]]
    ordinary = np.flatnonzero(trace.packets["flags"][own] & CONTROL == 0)
    flow, slot = _number(trace.packets["hash"][own])[ordinary], replay.slots[own][ordinary]
    same = flow[1:] == flow[:-1]
    changes = np.flatnonzero(same & (slot[1:] != slot[:-1])) + 1  # a run begins there
    runs = ordinary[changes[1:]] - ordinary[changes[:-1] - 1] - 1  # with all others around it
    short = np.flatnonzero((runs < cell) & (flow[changes[1:]] == flow[changes[:-1]]))
    if len(short):
        first = changes[short[0]]
        yield (
            f"{len(short)} cells are shorter than {cell} packets: first that of packet {own[ordinary[first]]}"
            f" (slot {slot[first]}), of {runs[short[0]]}"
        )


def _alone(trace: Trace) -> NDArray[np.bool_]:
    """Whether no other flow has the state of a packet's flow."""
    pairs = np.unique(
        trace.packets["flow"].astype(np.uint64) << np.uint64(32) | trace.packets["hash"].astype(np.uint64)
    )
    states, flows = np.unique(pairs >> np.uint64(32), return_counts=True)
    alone: NDArray[np.bool_] = flows[np.searchsorted(states, trace.packets["flow"])] == 1
    return alone


def _number(hashes: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Numbers from 0 on for hashes that are sorted."""
    if not len(hashes):
        return np.zeros(0, np.int64)
    return np.cumsum(np.concatenate([[0], hashes[1:] != hashes[:-1]])).astype(np.int64)
