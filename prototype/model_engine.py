"""The model's engine: a core's unit of work ends, another one begins, and so on in order of time.

Each core has one event, the end of what it is doing; a tournament finds the first. A unit is one
packet or skb at one stage, so that decisions see what other cores have done by then. In a softirq
or in a worker's bulk nothing else runs on the core, as in the kernel; between units of threads the
core looks around: softirqs first, unless they have run too long (then they take turns as ksoftirqd
does), then the thread that had least.
"""

# mypy: disable-error-code="untyped-decorator,no-untyped-def,no-untyped-call"

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
from numba import njit

from prototype.model_jit import OPTIONS, inlined
from prototype.model_policy import decide
from prototype.model_queues import drawn, pop, push
from prototype.model_sched import choose, moves, plan, rest, start, switch
from prototype.model_state import (
    APPLICATION,
    C_BULK,
    C_IRQ,
    C_POLL,
    C_READ,
    C_RX_LOCAL,
    C_RX_REMOTE,
    C_SEGMENT,
    C_SOCKET,
    C_SOFTIRQ,
    C_STAGE,
    C_TAKE,
    C_WIRE,
    C_WORK,
    CPUMAP,
    FLUSH,
    HAND,
    HELD,
    HELD_SOFTIRQ,
    HELD_THREAD,
    HOP,
    IDLE,
    INLINE,
    LAST_HOP,
    LOCAL_SLOT,
    NOBODY,
    NONE,
    READ,
    RING,
    RX,
    SENDER,
    SOCKET,
    SOFTIRQ,
    STAGE,
    STOCK_SLOT,
    TO_SOCKET,
    W_BATCHES,
    W_DONE,
    WIRE,
    WORK,
    WORKER,
    WORKER_WORDS,
    State,
)
from prototype.model_traffic import arrive, is_interrupted, send_batch
from prototype.model_units import BULK, begun_bulk, complete, flush_held

DONE, PAUSED, SHORT, FAULT = range(4)
"""Why the engine stopped: nothing is left; the time asked for is reached; the pool of packets is
too small to go on; the policy did what its contract forbids."""

_WEIGHT = 64  # of NAPI
_PRESSED = 8  # see xdp/polls.bpf.c
_1 = np.uint64(1)


@inlined
def _receive(s, c, t):
    """The NIC's driver, XDP and, for what stays, the skb."""
    w, core = s.world[0], s.cores[c]
    p = pop(s.packets, s.queues[c, RING])
    packet = s.packets[p]
    w.received += 1
    packet.place = 0
    packet.slot = decide(s, core.source, p, t) if w.ours else STOCK_SLOT
    moves(s, w.frame_bytes, t)
    if packet.slot <= LOCAL_SLOT:
        cost = drawn(s, C_RX_LOCAL) + w.byte * w.length * w.pressure
    else:
        cost = drawn(s, C_RX_REMOTE)
        if s.bulks[core.source, packet.slot - 1].count + 1 >= BULK:
            cost += drawn(s, C_BULK)
    plan(s, RX, p, cost)


@inlined
def _far(s, waiting):
    """ns to get the memory of a packet that another core has touched, once: its lines are there,
    and the longer the queue was, the less of them is still in a cache near by."""
    w = s.world[0]
    return w.cold + (w.deep - w.cold) * min(1.0, waiting / w.depth)


@inlined
def _take(s, c):
    """The worker takes a bulk out of its queue, and says so."""
    w, core = s.world[0], s.cores[c]
    queue, hand = s.queues[c, CPUMAP], s.queues[c, HAND]
    far = _far(s, queue.count)
    taken = min(BULK, queue.count)
    for _ in range(taken):
        p = pop(s.packets, queue)
        s.packets[p].far = far
        push(s.packets, hand, p)
    core.gathered += taken
    core.context = WORKER
    core.debt += drawn(s, C_TAKE)
    w.bulks += 1
    w.bulked += taken
    row = core.slot * WORKER_WORDS
    s.workers[row + W_DONE] += np.uint64(taken)
    s.workers[row + W_BATCHES] += _1


@inlined
def _deliver_segment(s, c, t):
    """Queue one segment to its socket, whose lock one core has at a time."""
    w, core = s.world[0], s.cores[c]
    p = core.skb
    packet = s.packets[p]
    f = s.flows[packet.flow]
    first = packet.segments > 0
    core.skb = packet.next
    if core.skb != NOBODY:
        s.packets[core.skb].far = packet.far
        s.packets[core.skb].segments = 0
    wait = max(0.0, f.locked - t)
    if f.owner != c:
        wait += w.bounce
        f.owner = c
    f.locked = t + wait + w.lock
    # The skb's head was touched by the stages before; its segments are one by one from here on.
    cost = drawn(s, C_SOCKET) if first else drawn(s, C_SEGMENT) + packet.far
    plan(s, TO_SOCKET, p, cost, wait)


@inlined
def _poll(s, c, t):
    """The softirq's next unit; False when there is none and it ends."""
    w, core = s.world[0], s.cores[c]
    while True:
        if s.queues[c, INLINE].count > 0:
            return False
        if core.poll == NOBODY:
            if core.scheduled == 0:
                core.context, core.deferred = NONE, 0
                return False
            q = core.last_poll
            while True:
                q = q + 1 if q < LAST_HOP else RING
                if core.scheduled >> q & 1:
                    break
            core.poll, core.left = q, _WEIGHT
            core.debt += drawn(s, C_POLL)
            w.polls += 1
        q = core.poll
        queue = s.queues[c, q]
        if core.left > 0 and queue.count > 0:
            core.left -= 1
            if q == RING:
                _receive(s, c, t)
            else:
                if q == HOP and queue.spliced == 0:
                    queue.spliced = queue.count
                p = pop(s.packets, queue)
                queue.spliced -= q == HOP
                packet = s.packets[p]
                cost = drawn(s, C_STAGE + packet.place)
                if packet.far < 0:
                    packet.far = _far(s, queue.count + 1)
                    cost += packet.far
                plan(s, STAGE, p, cost)
            return True
        # The poll ends.
        if q == RING:
            if w.ours and begun_bulk(s, c):
                plan(s, FLUSH, NOBODY, drawn(s, C_BULK))
                return True
            if s.queues[c, HELD].count > 0:
                flush_held(s, c, HELD_SOFTIRQ, t)
                continue
            source = s.sources[core.source]
            source.pressed = _PRESSED if core.left == 0 else max(0, source.pressed - 1)
        w.polled += _WEIGHT - core.left
        if core.left > 0:
            core.scheduled &= ~(1 << q)
        core.poll, core.last_poll = NOBODY, q
        late = core.deferred or t - core.since > w.softirq_limit
        if late and core.scheduled and s.queues[c, CPUMAP].count + s.queues[c, SOCKET].count > 0:
            # Too long: threads have their turn.
            core.context, core.deferred = NONE, 1
            return False


@inlined
def _begin(s, c, t):
    """The core's next unit."""
    w, core = s.world[0], s.cores[c]
    if core.source != NOBODY and not w.lab:
        arrive(s, c, t)
        if not core.scheduled & 1 and is_interrupted(s, c, t):
            core.scheduled |= 1
            core.debt += drawn(s, C_IRQ)
            w.irqs += 1
    while True:
        if core.skb != NOBODY:
            _deliver_segment(s, c, t)
            return
        if s.queues[c, INLINE].count > 0:
            p = pop(s.packets, s.queues[c, INLINE])
            plan(s, STAGE, p, drawn(s, C_STAGE + s.packets[p].place))
            return
        if core.context == SOFTIRQ:
            if _poll(s, c, t):
                return
        elif core.context == WORKER:
            if s.queues[c, HAND].count > 0:
                p = pop(s.packets, s.queues[c, HAND])
                cost = drawn(s, C_WORK) + w.byte * w.length * w.pressure
                plan(s, WORK, p, cost + s.packets[p].far)
                s.packets[p].far = 0.0
                return
            if core.gathered >= _WEIGHT or s.queues[c, CPUMAP].count == 0:
                core.gathered = 0
                flush_held(s, c, HELD_THREAD, t)
            if s.queues[c, INLINE].count == 0:
                core.context = NONE
        else:
            core.context = choose(s, c, t)
            if core.context == SOFTIRQ:
                core.debt += drawn(s, C_SOFTIRQ)
                w.softirqs += 1
            elif core.context == WORKER:
                switch(s, c, WORKER)
                _take(s, c)
            elif core.context == APPLICATION:
                switch(s, c, APPLICATION)
                p = pop(s.packets, s.queues[c, SOCKET])
                moves(s, 2.0 * w.length, t)
                cost = drawn(s, C_READ) + w.copy * w.length * w.pressure
                plan(s, READ, p, cost)
                return
            elif core.context == SENDER:
                each = drawn(s, C_WIRE)
                plan(s, WIRE, NOBODY, each * send_batch(s, c, t, each))
                return
            else:
                plan(s, IDLE, NOBODY, 0.0)
                return


def _sources_digest() -> int:
    """Of the engine's text: numba's cache looks at one file only, and it is in several."""
    parts = ("engine", "jit", "policy", "queues", "sched", "state", "traffic", "units")
    files = [Path(__file__).with_name(f"model_{part}.py") for part in parts]
    return int(sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12], 16)


def _compiled(digest: int) -> Callable[[State, float, int], int]:
    @njit(cache=True, **OPTIONS)
    def advance(s, until, reserve):
        """Go on until a time (ns), or why not."""
        w = s.world[0]
        while True:
            c, t = s.tree[1], s.at[1]
            if t == np.inf:
                return 0
            if t > until:
                return 1
            if w.spare < reserve:
                return 2
            if w.fault:
                return 3 + 0 * digest
            w.now = t
            complete(s, c, t)
            _begin(s, c, t)
            if w.unit == IDLE:
                rest(s, c, t)
            else:
                start(s, c, t)

    compiled: Callable[[State, float, int], int] = advance
    return compiled


advance = _compiled(_sources_digest())
"""``advance(state, until, reserve)``: run until ``until`` (ns), as long as the pool holds at least
``reserve`` spare packets; one of DONE, PAUSED, SHORT, FAULT. May be called again."""
