"""Seeded traces: packets with their times, and what the workers do meanwhile, for both halves of a policy.

The C structs are xdp/include/policy.h's and trace.h's; what a step does is decide.h's. A seed and a kind make
the same trace everywhere.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from steering.layout import header

_POLICY, _TRACE, _MAPS = header("policy.h"), header("trace.h"), header("maps.h")
KERNEL = _TRACE.constants["TRACE_KERNEL"]
"""Packets of a trace that the kernel's half takes."""
FLOWS = _MAPS.constants["MAX_FLOWS"]
CORES = _TRACE.constants["TRACE_CORES"]
_FIN, _SYN, _RST = (_POLICY.constants[f"TCP_{name}"] for name in ("FIN", "SYN", "RST"))
_ACK = 16
CONTROL = _FIN | _SYN | _RST
"""Flags of TCP packets that open or end a connection."""
EVERY = _TRACE.constants["EVERY_WORKER"]
_GOLDEN = 0x9E3779B1
"""Odd: multiplied by it, 32-bit numbers stay different."""
_PHASE = 512
"""Packets for which a worker keeps its speed."""
_FASTEST_NS, _SLOWEST_NS = 80, 2000
"""A worker's time for a packet."""
_IDLE_NS = (20_000, 4_000_000)
"""Gaps of this order empty a queue, or nearly so."""


@dataclass(frozen=True, eq=False)  # a comparison of arrays is no truth value
class Trace:
    """What a policy is to decide on."""

    name: str
    packets: NDArray[np.void]
    """``struct packet``"""
    steps: NDArray[np.void]
    """``struct step``, as many"""
    workers: int

    def __len__(self) -> int:
        return len(self.packets)

    def first(self, count: int) -> "Trace":
        """Its first packets."""
        return replace(self, packets=self.packets[:count], steps=self.steps[:count])

    def untimed(self) -> "Trace":
        """As a policy sees it that does not need the time: ``now`` is 0."""
        packets = self.packets.copy()
        packets["now"] = 0
        return replace(self, packets=packets)


def make(kind: str, count: int, seed: int = 1) -> Trace:
    """A trace of that kind (`KINDS`), of so many packets; a shorter one is not its beginning."""
    rng = np.random.default_rng([seed, *kind.encode()])
    return KINDS[kind](kind, rng, count)


def _mixed(workers: int) -> Callable[[str, Generator, int], Trace]:
    """64 flows at skewed shares, in bursts, with idle gaps; workers slow down, stall and catch up."""

    def of(name: str, rng: Generator, count: int) -> Trace:
        shares = 1 / np.arange(1, 65)
        flows = _in_bursts(rng, rng.choice(64, count, p=shares / shares.sum()), count)
        return _trace(name, rng, flows, workers)

    return of


def _one_flow(name: str, rng: Generator, count: int) -> Trace:
    return _trace(name, rng, np.zeros(count, np.int64), workers=2)


def _strangers(name: str, rng: Generator, count: int) -> Trace:
    return _trace(name, rng, np.arange(count), workers=3)


def _full(name: str, rng: Generator, count: int) -> Trace:
    """Others fill every queue, and nobody takes anything out."""
    made = _trace(name, rng, rng.integers(0, 16, count), workers=4, room=256)
    made.steps["worker"], made.steps["others"], made.steps["take"] = EVERY, 256, 0
    return made


def _many(name: str, rng: Generator, count: int) -> Trace:
    return _trace(name, rng, _in_bursts(rng, rng.integers(0, 256, count), count), workers=64, room=64)


def _nobody(name: str, rng: Generator, count: int) -> Trace:
    return _trace(name, rng, rng.integers(0, 16, count), workers=0)


def _shared(name: str, rng: Generator, count: int) -> Trace:
    """Flows whose hashes have one state between them, on all NIC cores at once."""
    made = _trace(name, rng, rng.integers(0, 8, count), workers=2)
    made.packets["hash"] = rng.integers(0, 8, count) * FLOWS + 7
    made.packets["flow"] = 7
    made.steps["core"] = rng.integers(0, CORES, count)
    return made


KINDS: dict[str, Callable[[str, Generator, int], Trace]] = {
    "two workers": _mixed(2),
    "one worker": _mixed(1),
    "three workers": _mixed(3),
    "four workers": _mixed(4),
    "one flow": _one_flow,
    "every packet another flow": _strangers,
    "backlogs all full": _full,
    "64 workers": _many,
    "no worker": _nobody,
    "flows that share a state": _shared,
}
"""The first is the longest in a check; the last six are there to do harm."""


def _in_bursts(rng: Generator, flows: NDArray[Any], count: int) -> NDArray[Any]:
    """Each flow for a while: bursts of 8 packets in the mean."""
    return np.repeat(flows, rng.geometric(1 / 8, count))[:count]


def _trace(name: str, rng: Generator, flows: NDArray[Any], workers: int, room: int = 512) -> Trace:
    count = len(flows)
    packets = np.zeros(count, _POLICY.struct("packet"))
    gaps = np.where(rng.random(count) < 1 / 8, rng.exponential(1000, count), 100).astype(np.uint64)
    idle = rng.random(count) < 1 / 1000
    gaps[idle] = rng.integers(*_IDLE_NS, int(idle.sum()))
    packets["now"] = 10**9 + np.cumsum(gaps)
    packets["hash"] = (flows.astype(np.uint64) + 1) * _GOLDEN & 0xFFFFFFFF
    packets["flow"] = packets["hash"] & (FLOWS - 1)
    packets["length"] = rng.choice([60, 250, 1450], count)
    packets["protocol"] = np.where(flows % 3, 17, 6)
    steps = np.zeros(count, _TRACE.struct("step"))
    steps["core"] = flows % 2  # as RSS would: a flow stays on its NIC core
    packets["queue"] = steps["core"]
    steps["room"] = room
    packets["flags"] = np.where(packets["protocol"] == 6, _flags(rng.spawn(1)[0], flows), 0)
    if workers:
        _work(rng, packets["now"], idle, steps, workers)
    return Trace(name, packets, steps, workers)


def _flags(rng: Generator, flows: NDArray[Any]) -> NDArray[np.uint8]:
    """TCP's: a flow begins with SYN, and some packets are the last of a connection, or say so."""
    flags = rng.choice([_ACK, _ACK | _FIN, _ACK | _RST], len(flows), p=[0.99, 0.005, 0.005]).astype(np.uint8)
    flags[np.unique(flows, return_index=True)[1]] = _SYN
    return flags


def _work(rng: Generator, now: NDArray[Any], idle: NDArray[Any], steps: NDArray[Any], workers: int) -> None:
    """The workers run in turn, each for the time since its last turn, at speeds that change and may be 0."""
    count = len(steps)
    phases = -(-count // _PHASE)
    speeds = 1 / np.exp(rng.uniform(np.log(_FASTEST_NS), np.log(_SLOWEST_NS), (phases, workers)))
    speeds[rng.random(speeds.shape) < 0.1] = 0
    speeds *= rng.choice([1, 1, 1, 0.05], (phases, 1))  # at times all are slow
    turns = np.arange(count)
    before = now[np.maximum(turns - workers, 0)]
    taken = (now - before) * speeds[turns // _PHASE, turns % workers]
    steps["worker"] = turns % workers
    steps["take"] = (taken + rng.random(count)).astype(np.uint32)
    steps["others"] = np.where(rng.random(count) < 1 / 16, rng.integers(0, 4, count), 0)
    # While nothing comes, all run, as fast as the slowest.
    steps["worker"][idle] = EVERY
    steps["take"][idle] = ((now - before)[idle] // _SLOWEST_NS).astype(np.uint32)
