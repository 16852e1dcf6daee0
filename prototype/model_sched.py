"""Whose turn it is on a core: units of work begin, softirqs and threads alternate, cores rest."""

# mypy: disable-error-code="untyped-decorator,no-untyped-def,no-untyped-call"

import numpy as np

from prototype.model_jit import inlined
from prototype.model_queues import drawn, set_event
from prototype.model_state import (
    APPLICATION,
    C_SWITCH,
    CPUMAP,
    IDLE,
    NEVER,
    NOBODY,
    NONE,
    SENDER,
    SOCKET,
    SOFTIRQ,
    W_YIELDED,
    WORKER,
    WORKER_WORDS,
)
from prototype.model_traffic import interrupt_at, sent_at

_1 = np.uint64(1)
_WINDOW = 50_000.0  # ns over which the use of the memory's bandwidth is averaged
_MOST_USED = 0.98


@inlined
def plan(s, unit, p, cost, wait=0.0):
    """What the core begins now; ``wait``: besides the cost, what passes however busy other cores
    are."""
    w = s.world[0]
    w.unit, w.packet, w.cost, w.wait = unit, p, cost, wait


@inlined
def start(s, c, t):
    """The core is busy until the planned unit ends; what it owed is paid with it."""
    w, core = s.world[0], s.cores[c]
    if core.unit == IDLE:
        w.busy += 1
    unit, p = w.unit, w.packet
    took = w.wait + (w.cost + core.debt) * (1.0 + w.contention * (w.busy - 1))
    core.debt = 0.0
    core.unit, core.packet, core.began = unit, p, t
    if w.warmup <= t < w.stop:
        s.busy[c, core.context] += took
    s.fair[c, core.context] += took * w.weighs if core.context == WORKER else took
    if w.traced < len(s.trace):
        row = s.trace[w.traced]
        row.begin, row.end, row.core, row.unit, row.kind = t, t + took, c, unit, core.context
        row.flow, row.seq, row.slot = NOBODY, NOBODY, NOBODY
        if p != NOBODY:
            packet = s.packets[p]
            row.flow, row.seq, row.slot = packet.flow, packet.seq, packet.slot
        w.traced += 1
    w.events += 1
    set_event(s, c, t + took)


@inlined
def moves(s, bytes_moved, t):
    """Bytes through the memory: the fuller its bandwidth, the longer they take (the mean wait of a
    queue with constant service times, M/D/1)."""
    w = s.world[0]
    if w.warmup <= t < w.stop:
        w.moved_bytes += bytes_moved
    if w.memory <= 0:
        return
    w.window_bytes += bytes_moved
    if t >= w.window_end:
        used = min(_MOST_USED, w.window_bytes / (t - w.window_end + _WINDOW) / w.memory)
        w.pressure = 1.0 + used / (2.0 * (1.0 - used))
        w.window_bytes, w.window_end = 0.0, t + _WINDOW


@inlined
def switch(s, c, thread):
    """Another thread than the one before."""
    w, core = s.world[0], s.cores[c]
    if core.thread == thread:
        return
    core.debt += drawn(s, C_SWITCH)
    w.switches += 1
    if core.thread == WORKER and s.queues[c, CPUMAP].count > 0:
        s.workers[core.slot * WORKER_WORDS + W_YIELDED] += _1
        w.preemptions += 1
    core.thread = thread


@inlined
def choose(s, c, t):
    """Who runs next, when nobody must: a context, or NONE."""
    w, core = s.world[0], s.cores[c]
    if core.scheduled and not core.deferred:
        core.since = t
        return SOFTIRQ
    work, read = s.queues[c, CPUMAP].count > 0, s.queues[c, SOCKET].count > 0
    core.worker_asleep |= not work
    core.app_asleep |= not read
    if core.source != NOBODY and w.lab and sent_at(s, c) <= t and not core.scheduled:
        return SENDER
    best, least = NONE, NEVER
    current = s.fair[c, core.thread] if core.thread != NONE else 0.0
    for thread in (SOFTIRQ, WORKER, APPLICATION):
        if thread == SOFTIRQ:
            ready = core.scheduled != 0
        elif thread == WORKER:
            ready = work and t >= core.worker_at
        else:
            ready = read and t >= core.app_at
        if not ready:
            continue
        # Who slept may not make up for all of it; who runs is not disturbed for a trifle.
        s.fair[c, thread] = max(s.fair[c, thread], current - 2.0 * w.slice)
        had = s.fair[c, thread] - (w.slice if thread == core.thread else 0.0)
        if had < least:
            best, least = thread, had
    return best


@inlined
def rest(s, c, t):
    """Nothing to do before the next event that can be foreseen."""
    w, core = s.world[0], s.cores[c]
    if core.unit != IDLE:
        w.busy -= 1
    core.unit, core.context, core.packet, core.since = IDLE, NONE, NOBODY, t
    at = NEVER
    if core.source != NOBODY:
        at = sent_at(s, c) if w.lab else interrupt_at(s, c)
    if s.queues[c, CPUMAP].count > 0:
        at = min(at, core.worker_at)
    if s.queues[c, SOCKET].count > 0:
        at = min(at, core.app_at)
    set_event(s, c, max(at, t))
