"""Made-up packets and counters for policies to decide on: all of it follows from a seed.

Unsigned integers throughout, so that the kernel is given the same.
"""

from collections.abc import Set
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from steering.hosted import STEP
from steering.layout import header
from steering.policy import Need

ALL_NEEDS = frozenset(Need)
_FLOWS = header("maps.h").constants["MAX_FLOWS"]
_PRESSED = 8
_CONTAINERS = 7
_TCP, _UDP = 6, 17
_FIN, _SYN, _RST, _ACK = 1, 2, 4, 16
_SECOND = 10**9
_FACTS = {
    Need.TIME: ("now",),
    Need.CLEAR: ("clear",),
    Need.PRESSURE: ("pressed",),
    Need.YIELDS: (),
}
_COUNTERS = {
    Need.TIME: (),
    Need.CLEAR: ("started", "finished"),
    Need.PRESSURE: (),
    Need.YIELDS: ("yielded",),
}

Steps = NDArray[np.void]


class Mix(StrEnum):
    """What kind of traffic."""

    LIGHT = "light"
    """Many flows, packets far apart."""
    HEAVY = "heavy"
    """One flow has nearly all packets, at 3 Mpps."""
    BURSTY = "bursty"
    """Flows take turns: a burst, then silence."""
    ADVERSARIAL = "adversarial"
    """Every value at its ends, time that stands still or leaps, all flags, colliding flows."""


def trace(mix: Mix, packets: int, workers: int, seed: int) -> Steps:
    """So many packets, and counters of so many workers that change before each of them."""
    rng = np.random.default_rng([seed, packets, workers, list(Mix).index(mix)])
    steps = np.zeros(packets, STEP)
    _fill_packets(steps["packet"], mix, rng)
    _fill_counters(steps, workers, rng)
    return steps


def known(steps: Steps, needs: Set[Need]) -> Steps:
    """The same, as a policy with these needs is told it: what it does not need is 0."""
    told = steps.copy()
    for need in ALL_NEEDS - needs:
        for name in _FACTS[need]:
            told["packet"][name] = 0
        for name in _COUNTERS[need]:
            told[name] = 0
    return told


def orderly(packets: int, flows: int, seed: int) -> Steps:
    """Packets to judge order by: flows of distinct states in bursts, TCP and UDP in turn; each TCP
    flow opens with SYN and ends with FIN. ``clear`` is withheld now and then."""
    rng = np.random.default_rng([seed, packets, flows])
    steps = np.zeros(packets, STEP)
    packet = steps["packet"]
    places = rng.choice(_FLOWS, flows, replace=False).astype(np.uint32)
    hashes = rng.integers(0, 1 << 20, flows, np.uint32) * np.uint32(_FLOWS) + places
    which = _in_bursts(rng, packets, rng.integers(0, flows, packets), 96)
    packet["hash"], packet["flow"] = hashes[which], places[which]
    gap = np.where(rng.random(packets) < 0.002, rng.integers(10**5, 10**8, packets), 700)
    packet["now"] = _SECOND + np.cumsum(gap).astype(np.uint64)
    packet["length"] = 1450
    packet["protocol"] = np.where(which % 2, _TCP, _UDP)
    packet["tcp_flags"] = np.where(which % 2, _ACK, 0)
    for flow in range(1, flows, 2):
        own = np.flatnonzero(which == flow)
        packet["tcp_flags"][own[:1]] = _SYN
        packet["tcp_flags"][own[1:][-1:]] = _FIN | _ACK
    packet["clear"] = rng.random(packets) < 0.9
    packet["pressed"] = _in_bursts(rng, packets, rng.integers(0, _PRESSED + 1, packets), 256)
    packet["container"] = which % _CONTAINERS
    steps["worker"] = 0
    return steps


def drains(packets: int, slots: int, seed: int) -> NDArray[np.uint16]:
    """How many packets may leave each slot's queue before each packet: queues that stall, crawl,
    keep up or empty at once, each for a while and for itself."""
    rng = np.random.default_rng([seed, packets, slots, 1])
    out = np.zeros((packets, slots), np.uint16)
    turn = np.arange(packets)
    ways = np.stack(
        [
            np.zeros(packets),
            turn % 8 == 0,
            np.ones(packets),
            np.where(turn % 64 == 0, 64, 0),
            np.full(packets, 1000),
        ]
    )
    for slot in range(slots):
        way = _in_bursts(rng, packets, rng.integers(0, len(ways), packets), 300)
        out[:, slot] = ways[way, turn]
    return out


def _fill_packets(packet: Steps, mix: Mix, rng: np.random.Generator) -> None:
    packets = len(packet)
    flows = {Mix.LIGHT: 500, Mix.HEAVY: 20, Mix.BURSTY: 50, Mix.ADVERSARIAL: 64}[mix]
    hashes = rng.integers(0, 1 << 32, flows, np.uint32)
    which = rng.integers(0, flows, packets)
    gap = rng.exponential({Mix.LIGHT: 50e3, Mix.HEAVY: 330}.get(mix, 1e3), packets)
    if mix is Mix.HEAVY:
        which[rng.random(packets) < 0.97] = 0
    if mix is Mix.BURSTY:
        which = _in_bursts(rng, packets, which, 40)
        gap[np.flatnonzero(np.diff(which, prepend=0))] *= 5000
    if mix is Mix.ADVERSARIAL:
        hashes[:32] = hashes[32:] & 7 | np.uint32(0xFFFFF000)  # different flows of one place
        hashes[:2] = 0, 0xFFFFFFFF
        gap = rng.choice([0, 0, 1, 1e3, 1e6, 3.6e12], packets)
    packet["now"] = _SECOND + np.cumsum(gap.astype(np.uint64))
    packet["hash"] = hashes[which]
    packet["flow"] = packet["hash"] & np.uint32(_FLOWS - 1)
    packet["protocol"] = np.where(hashes[which] & 1, _TCP, _UDP)
    flags = rng.choice([_ACK] * 60 + [_SYN, _FIN | _ACK, _RST, 0, 255], packets)
    packet["tcp_flags"] = np.where(packet["protocol"] == _TCP, flags, 0)
    packet["length"] = rng.choice([60, 68, 1000, 1450, 65535], packets)
    packet["queue"] = rng.integers(0, 1 << 16 if mix is Mix.ADVERSARIAL else 4, packets)
    packet["clear"] = rng.random(packets) < 0.2
    packet["pressed"] = _in_bursts(rng, packets, rng.integers(0, _PRESSED + 1, packets), 200)
    packet["container"] = which % _CONTAINERS


def _fill_counters(steps: Steps, workers: int, rng: np.random.Generator) -> None:
    """Each worker's queue grows and shrinks; a moment's view may show more taken out than sent."""
    packets = len(steps)
    steps["worker"] = rng.integers(0, max(1, workers), packets)
    for worker in range(max(1, workers)):
        own = np.flatnonzero(steps["worker"] == worker)
        sent = np.cumsum(rng.integers(0, 65, len(own)), dtype=np.int64)
        lost = np.cumsum(rng.random(len(own)) < 0.01, dtype=np.int64)
        waiting = rng.choice([-2, 0, 1, 7, 8, 63, 64, 127, 128, 129, 500, 2048, 9000], len(own))
        done = _never_less(sent - lost - waiting)
        finished = _never_less(done - rng.integers(0, 65, len(own)))
        steps["sent"][own], steps["lost"][own], steps["done"][own] = sent, lost, done
        steps["finished"][own] = finished
        steps["started"][own] = (finished + done) // 2
        steps["yielded"][own] = np.cumsum(rng.random(len(own)) < rng.choice([0, 0.01, 0.5]))
        steps["batches"][own] = done // 8


def _never_less(counter: NDArray[np.int64]) -> NDArray[np.int64]:
    if not len(counter):
        return counter
    return np.maximum.accumulate(np.maximum(counter, 0))


def _in_bursts(
    rng: np.random.Generator, packets: int, values: NDArray[np.int64], mean: int
) -> NDArray[np.int64]:
    """Values that stay for a while, as long as ``mean`` on average."""
    begins = rng.random(packets) < 1 / mean
    return values[np.cumsum(begins)] if packets and begins.sum() < packets else values
