"""Does a policy keep the order that it promises? Queues that stall and race stand behind it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steering import trace
from steering.hosted import Hosted, Queued
from steering.policy import Order, Policy

PACKETS = 20_000
_FLOWS = 6
_COUNTS = (0, 1, 2, 3, 8)
_ROOM = 256
_CONTROL = 1 | 2 | 4
"""FIN, SYN, RST: a policy may take them out of the row of cells."""


@dataclass(frozen=True)
class Setting:
    """How a policy was set when something was seen."""

    workers: int
    knobs: Mapping[str, int]

    def __str__(self) -> str:
        knobs = "".join(f", {name}={value}" for name, value in self.knobs.items())
        return f"{self.workers} worker{'' if self.workers == 1 else 's'}{knobs}"


def settings_of(policy: Policy, rng: np.random.Generator) -> list[dict[str, int]]:
    """Knobs at their defaults, their low and high ends, and anywhere between."""
    knobs = policy.knobs
    return [
        {name: knob.default for name, knob in knobs.items()},
        {name: knob.low for name, knob in knobs.items()},
        {name: knob.high for name, knob in knobs.items()},
        {name: int(rng.integers(knob.low, knob.high + 1)) for name, knob in knobs.items()},
    ]


def broken_promise(hosted: Hosted, seed: int) -> str | None:
    """What became of the order in the first trace in which the promise did not hold, if any.

    Raises:
        PolicyFault: the policy did what its contract forbids.
    """
    policy = hosted.policy
    rng = np.random.default_rng(seed)
    for number, workers in enumerate(_COUNTS):
        steps = trace.orderly(PACKETS, _FLOWS, seed + number)
        drains = trace.drains(PACKETS, workers + 1, seed + number)
        for knobs in settings_of(policy, rng):
            queued = hosted.run_queues(
                trace.known(steps, policy.needs), drains, knobs, workers, _ROOM
            )
            broken = _broken(policy, steps, queued, knobs)
            if broken:
                where = Setting(workers, knobs)
                return f"order '{policy.order}' is promised, but with {where} {broken}"
    return None


def _broken(
    policy: Policy, steps: NDArray[np.void], queued: Queued, knobs: Mapping[str, int]
) -> str | None:
    if policy.order is Order.UNORDERED:
        return None
    if policy.order is Order.STRICT:
        return overtaken(steps["packet"]["hash"], queued.place)
    return broken_cells(steps["packet"], queued.slots, knobs.get("cell"))


def overtaken(flows: NDArray[np.uint32], place: NDArray[np.uint64]) -> str | None:
    """The first packet that came out after a later one of its flow."""
    for own in _flows(flows):
        out = own[place[own] > 0]
        late = np.flatnonzero(np.diff(place[out].astype(np.int64)) < 0)
        if len(late):
            return f"packet {out[late[0] + 1]} of the trace overtook packet {out[late[0]]}"
    return None


def broken_cells(
    packets: NDArray[np.void], slots: NDArray[np.uint32], cell: int | None
) -> str | None:
    """The first run of a flow that is shorter than a cell, or, where no knob tells how long one is,
    a flow that changes its slot at more than every other packet."""
    data = (packets["tcp_flags"] & _CONTROL) == 0
    for own in _flows(packets["hash"]):
        row = own[data[own]]
        changes = np.flatnonzero(np.diff(slots[row].astype(np.int64))) + 1
        if cell is None and 2 * len(changes) > len(row):
            return f"{len(changes)} of a flow's {len(row)} packets change their slot: no cells"
        # The first and the last run may be parts of cells.
        short = np.flatnonzero(np.diff(changes) < (cell or 1))
        if len(short):
            length = np.diff(changes)[short[0]]
            return f"a run of {length} begins at packet {row[changes[short[0]]]} of the trace"
    return None


def _flows(of: NDArray[np.uint32]) -> Iterator[NDArray[np.int64]]:
    for flow in np.unique(of):
        yield np.flatnonzero(of == flow)
