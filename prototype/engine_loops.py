"""What the packet engine's threads do: the NIC's core, a worker, and who restores the order.

A ring has one writer and one reader: the NIC thread puts numbers of frames, a worker takes them out
in bulks. ``shared`` holds the cells that threads tell each other by, one cache line each; ``log``
says in which order frames came through: place k holds the frame's number plus one, negative if it
went to the stock path, 0 while it is not known. ``steer``, ``deliver`` and ``clock`` are the C
functions of xdp/host/engine.c, ``buffer`` and ``first`` addresses. Times are in ns.
"""

# numba has no types for its decorators.
# mypy: disable-error-code="untyped-decorator"

from typing import Any

import numpy as np
from numba import njit

from prototype.engine_atomic import add, load, rest, store
from steering.layout import header

_FRAME = header("frame.h", "maps.h").struct("frame").itemsize
_FAULT = header("frame.h", "maps.h").constants["FRAME_FAULT"]
_WORKER: Any = header("policy.h").struct("worker").fields


def _word(name: str) -> int:
    return int(_WORKER[name][1] // 8)


_DONE, _STARTED, _FINISHED = _word("done"), _word("started"), _word("finished")
_BATCHES = _word("batches")
_LOCAL_SENT, _LOCAL_FINISHED = 0, 2  # of struct local_path, see path.h

BULK = 8
"""Frames that go into a ring, and out of it, together: as in the kernel's cpumap."""
POLL = 64
"""Frames that the NIC thread takes up together: NAPI's weight."""
_FULL_POLLS = 8  # as in polls.bpf.c

LINE = 8
STOP, CLOSED, LOGGED = 0, LINE, 2 * LINE
_RINGS = 3 * LINE
STEER, LOCAL, WAIT = 0, 1, 2
"""Of the NIC thread's times."""


def cells(workers: int) -> int:
    """Size of ``shared``."""
    return _RINGS + 2 * LINE * workers


@njit(nogil=True, cache=True)
def _put(worker: int) -> int:
    return _RINGS + 2 * LINE * worker


@njit(nogil=True, cache=True)
def _note(log: Any, shared: Any, entry: int) -> None:
    store(log, np.int64(add(shared, LOGGED, 1)), entry)


@njit(nogil=True, cache=True)
def _hand_over(clock: Any, worker: int, bulk: Any, count: int, rings: Any, shared: Any) -> int:
    """Put a bulk into a worker's ring; wait while there is no room. Returns for how long."""
    room = rings.shape[1]
    put = shared[_put(worker)]
    waited, rests = 0, 0
    while put + np.uint64(count) - load(shared, _put(worker) + LINE) > np.uint64(room):
        if rests == 0:
            waited = clock()
        rests = rest(rests)
        if load(shared, STOP):
            return 0
    for k in range(count):
        rings[worker, (put + np.uint64(k)) % np.uint64(room)] = bulk[k]
    store(shared, _put(worker), put + np.uint64(count))
    return clock() - waited if rests else 0


@njit(nogil=True, cache=True)
def receive(
    steer: Any,
    deliver: Any,
    clock: Any,
    buffer: int,
    first: int,
    count: int,
    rings: Any,
    shared: Any,
    log: Any,
    local: Any,
    pressure: Any,
    times: Any,
) -> None:
    """The NIC's core, slot 0: decide on each frame, hand over, and deliver what stays.

    ``local`` is its struct local_path as words, ``pressure`` what full polls tell the policy.
    """
    workers = rings.shape[0]
    bulks = np.empty((workers, BULK), np.uint32)
    gathered = np.zeros(workers, np.int64)
    kept = np.empty(POLL, np.int64)
    for start in range(0, count, POLL):
        if load(shared, STOP):
            break
        end, staying = min(start + POLL, count), 0
        begin, waited = clock(), 0
        for i in range(start, end):
            fate = int(steer(buffer, first + i * _FRAME))
            if fate == 0:
                kept[staying] = i
                staying += 1
            elif fate <= workers:
                worker = fate - 1
                bulks[worker, gathered[worker]] = i
                gathered[worker] += 1
                if gathered[worker] == BULK:
                    waited += _hand_over(clock, worker, bulks[worker], BULK, rings, shared)
                    gathered[worker] = 0
            elif fate == _FAULT:
                store(shared, STOP, 1)
                return
            else:
                _note(log, shared, -1 - i)
        for worker in range(workers):
            if gathered[worker]:
                size = gathered[worker]
                waited += _hand_over(clock, worker, bulks[worker], size, rings, shared)
                gathered[worker] = 0
        decided = clock()
        for k in range(staying):
            deliver(buffer, first + kept[k] * _FRAME, 0)
            _note(log, shared, 1 + kept[k])
        store(local, _LOCAL_FINISHED, local[_LOCAL_SENT])
        if end - start == POLL:
            pressure[0] = _FULL_POLLS
        elif pressure[0]:
            pressure[0] -= 1
        times[STEER] += decided - begin - waited
        times[WAIT] += waited
        times[LOCAL] += clock() - decided
    store(shared, CLOSED, 1)


@njit(nogil=True, cache=True)
def work(
    slot: int,
    deliver: Any,
    clock: Any,
    buffer: int,
    first: int,
    rings: Any,
    shared: Any,
    log: Any,
    counters: Any,
    times: Any,
) -> None:
    """The core of a slot: take frames out of its ring in bulks, and deliver them.

    ``counters`` is its struct worker as words: what policies see of it.
    """
    worker, room = slot - 1, np.uint64(rings.shape[1])
    taken, rests = np.uint64(0), 0
    while True:
        closed = load(shared, CLOSED) or load(shared, STOP)
        waiting = load(shared, _put(worker)) - taken
        if not waiting:
            if closed:
                return
            rests = rest(rests)
            continue
        rests = 0
        begin = clock()
        size = min(waiting, np.uint64(BULK))
        store(counters, _DONE, counters[_DONE] + size)
        store(counters, _BATCHES, counters[_BATCHES] + np.uint64(1))
        for k in range(size):
            i = np.int64(rings[worker, (taken + np.uint64(k)) % room])
            store(counters, _STARTED, counters[_STARTED] + np.uint64(1))
            deliver(buffer, first + i * _FRAME, slot)
            store(counters, _FINISHED, counters[_FINISHED] + np.uint64(1))
            _note(log, shared, 1 + i)
        taken += size
        store(shared, _put(worker) + LINE, taken)
        times[0] += clock() - begin


@njit(nogil=True, cache=True)
def restore(clock: Any, shared: Any, log: Any, out: Any, held: Any, times: Any) -> int:
    """Hold each frame until all that came before it have come through; returns how many came out.

    ``out`` becomes their numbers, ``held[k]`` how often k frames were being held. Frames for the
    stock path are not waited for.
    """
    came = np.zeros(len(log), np.int8)
    following, released, holding = 0, 0, 0
    k = 0
    while k < len(log):
        rests = 0
        while load(log, k) == 0:
            if load(shared, STOP):
                return released
            rests = rest(rests)
        begin = clock()
        while k < len(log):
            entry = load(log, k)
            if entry == 0:
                break
            k += 1
            came[abs(entry) - 1] = 1 if entry > 0 else -1
            holding += entry > 0
            while following < len(log) and came[following]:
                if came[following] > 0:
                    out[released] = following
                    released += 1
                    holding -= 1
                following += 1
            held[min(holding, len(held) - 1)] += 1
        times[0] += clock() - begin
    return released
