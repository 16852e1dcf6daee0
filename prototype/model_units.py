"""What a unit of work does when it ends: packets go on, are gathered, handed over, delivered."""

# mypy: disable-error-code="untyped-decorator,no-untyped-def,no-untyped-call"

import numpy as np

from prototype.model_jit import inlined
from prototype.model_queues import (
    drawn,
    drop_skb,
    finish,
    latency_bin,
    poke,
    pop,
    push,
    release,
    remove,
    wake_worker,
)
from prototype.model_state import (
    C_HOP,
    C_IPI,
    C_WAKE,
    CPUMAP,
    D_SOCKET,
    D_WORKER,
    FLUSH,
    HELD,
    INLINE,
    LOCAL_SLOT,
    NOBODY,
    READ,
    RING,
    RX,
    SOCKET,
    STAGE,
    TO_SOCKET,
    W_LOST,
    WIRE,
    WORK,
    WORKER,
    WORKER_WORDS,
)

BULK = 8
"""Packets that the kernel hands to a cpumap queue, or a worker takes from it, at once."""
_MOST_HELD = 64
_1 = np.uint64(1)


@inlined
def enter(s, c, p, t):
    """An skb comes to its next stage: at once, or by a backlog on this core or another."""
    w, packet = s.world[0], s.packets[p]
    hop = s.hops[packet.place, 0]
    if hop == 0:
        push(s.packets, s.queues[c, INLINE], p)
        return
    target = s.flows[packet.flow].rps if hop == 2 else c
    number = s.hops[packet.place, 3]
    queue, core = s.queues[target, number], s.cores[target]
    if target != c:
        s.cores[c].debt += drawn(s, C_HOP)
    if queue.count - queue.spliced >= queue.limit:
        drop_skb(s, c, p, s.hops[packet.place, 2])
        return
    if target != c:
        packet.far = -1.0  # to be found out there
    push(s.packets, queue, p)
    if core.scheduled >> number & 1:
        return
    core.scheduled |= 1 << number
    if target != c:
        s.cores[c].debt += drawn(s, C_IPI)
        w.ipis += 1
        poke(s, target, t + w.ipi_latency)


@inlined
def gather(s, c, p):
    """GRO takes a packet: the skb that goes on for it, or NOBODY. Softirqs and worker threads hold
    skbs of their own."""
    w, packet = s.world[0], s.packets[p]
    w.gathered += 1
    if w.merge <= 1:
        w.skbs += 1
        return p
    index = 1 if s.cores[c].context == WORKER else 0
    held = s.queues[c, HELD + index]
    head, full = s.held[2 * c + index, packet.flow], NOBODY
    if head != NOBODY and w.sequenced and s.packets[s.packets[head].tail].seq + 1 != packet.seq:
        head, full = NOBODY, head
    if head == NOBODY:
        w.skbs += 1
        if full == NOBODY and held.count >= _MOST_HELD:
            full = held.head
    else:
        skb = s.packets[head]
        s.packets[skb.tail].next = p
        skb.tail = p
        skb.segments += 1
        if skb.segments >= w.merge:
            full = head
    if full != NOBODY:
        remove(s.packets, held, full)
        s.held[2 * c + index, s.packets[full].flow] = NOBODY
    if head == NOBODY:
        push(s.packets, held, p)
        s.held[2 * c + index, packet.flow] = p
    return full


@inlined
def flush_held(s, c, index, t):
    """GRO passes on all that it holds."""
    held = s.queues[c, HELD + index]
    while held.count > 0:
        p = pop(s.packets, held)
        s.held[2 * c + index, s.packets[p].flow] = NOBODY
        enter(s, c, p, t)


@inlined
def begun_bulk(s, c):
    """The first slot whose bulk is neither empty nor handed over; 0: none."""
    for slot in range(1, s.world[0].workers + 1):
        if s.bulks[s.cores[c].source, slot - 1].count > 0:
            return slot
    return 0


@inlined
def flush_bulk(s, c, slot, t):
    """A bulk goes into the queue of its worker; what finds no room is lost."""
    w, bulk = s.world[0], s.bulks[s.cores[c].source, slot - 1]
    target = s.worker_core[slot]
    queue = s.queues[target, CPUMAP]
    while bulk.count > 0:
        p = pop(s.packets, bulk)
        if queue.count < queue.limit:
            push(s.packets, queue, p)
            continue
        s.workers[slot * WORKER_WORDS + W_LOST] += _1
        if s.packets[p].time >= w.warmup:
            s.drops[D_WORKER] += 1
        release(s, p)
    if s.cores[target].worker_asleep:
        wake_worker(s, target, c, drawn(s, C_WAKE), t)


@inlined
def _record(s, p, t):
    """The sink counts it: latency, order (RFC 4737's Type-P-Reordered), and what came when."""
    w, packet = s.world[0], s.packets[p]
    f = s.flows[packet.flow]
    late = packet.seq < f.expected
    if not late:
        f.expected = packet.seq + 1
    if w.warmup <= t < w.stop:
        w.in_time += 1
    if packet.time < w.warmup:
        return
    w.delivered += 1
    w.reordered += late
    s.latency[latency_bin(t - packet.time)] += 1
    if w.logged < len(s.log):
        s.log[w.logged, 0], s.log[w.logged, 1] = packet.flow, packet.seq
        w.logged += 1


@inlined
def _deliver(s, c, p, t):
    """Into the socket: counted there, or kept for the application."""
    w, packet = s.world[0], s.packets[p]
    finish(s, c, packet.slot)
    if not w.reads:
        _record(s, p, t)
        release(s, p)
        return
    f = s.flows[packet.flow]
    if f.queued >= w.room:
        if packet.time >= w.warmup:
            s.drops[D_SOCKET] += 1
        release(s, p)
        return
    f.queued += 1
    push(s.packets, s.queues[f.app, SOCKET], p)
    core = s.cores[f.app]
    if core.app_asleep:
        core.app_asleep = 0
        core.app_at = t + w.wake_latency
        s.cores[c].debt += drawn(s, C_WAKE)
        w.wakeups += 1
        poke(s, f.app, core.app_at)


@inlined
def complete(s, c, t):
    """The core's unit ends now."""
    core = s.cores[c]
    unit, p = core.unit, core.packet
    goes_on = NOBODY
    if unit == RX and s.packets[p].slot > LOCAL_SLOT:
        slot = s.packets[p].slot
        push(s.packets, s.bulks[core.source, slot - 1], p)
        if s.bulks[core.source, slot - 1].count >= BULK:
            flush_bulk(s, c, slot, t)
    elif unit in (RX, WORK):
        goes_on = gather(s, c, p)
    elif unit == STAGE:
        if s.hops[s.packets[p].place, 1]:
            core.skb = p
        else:
            s.packets[p].place += 1
            goes_on = p
    elif unit == TO_SOCKET:
        _deliver(s, c, p, t)
    elif unit == FLUSH:
        flush_bulk(s, c, begun_bulk(s, c), t)
    elif unit == READ:
        s.flows[s.packets[p].flow].queued -= 1
        _record(s, p, t)
        release(s, p)
    elif unit == WIRE:
        core.scheduled |= 1 << RING
    if goes_on != NOBODY:
        enter(s, c, goes_on, t)
