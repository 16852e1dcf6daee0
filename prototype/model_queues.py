"""The model's primitives: queues, the pool of packets, the tournament of events, random numbers."""

# numba has no types for its decorators.
# mypy: disable-error-code="untyped-decorator,no-untyped-def,no-untyped-call"

from math import log

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from prototype.model_jit import inlined
from prototype.model_state import (
    CPUMAP,
    IDLE,
    LATENCY_BINS,
    LOCAL_SLOT,
    NEVER,
    NOBODY,
    W_FINISHED,
    WORKER_WORDS,
)

_1, _7, _11, _13, _17, _40 = (np.uint64(n) for n in (1, 7, 11, 13, 17, 40))
_QUANTILE = np.uint64(255)
_UNIT = 2.0**-53
_BELOW_BIN = np.int64(52 - 5)
_FIRST_BIN = np.int64(1023 << 5)


@intrinsic
def call_policy(context, address, packet, knobs, flow, core, workers):
    """``decide`` of a hosted policy at an address: not a ctypes object, so that numba may keep
    what it has compiled."""
    word = types.uint64

    def generate(context, builder, signature, arguments):
        i64, i32 = ir.IntType(64), ir.IntType(32)
        kind = ir.FunctionType(i32, [i64] * 5)
        function = builder.inttoptr(arguments[0], kind.as_pointer())
        return builder.call(function, arguments[1:])

    return types.uint32(word, word, word, word, word, word), generate


@inlined
def drawn(s, row):
    """One of the cost's quantiles, ns."""
    w = s.world[0]
    x = w.rng
    x ^= x << _13
    x ^= x >> _7
    x ^= x << _17
    w.rng = x
    return s.tables[row, np.int64((x >> _40) & _QUANTILE)]


@inlined
def exponential(source):
    """Of mean 1, from the source's own numbers."""
    x = source.rng
    x ^= x << _13
    x ^= x >> _7
    x ^= x << _17
    source.rng = x
    return -log((np.float64(x >> _11) + 0.5) * _UNIT)


@inlined
def push(packets, queue, p):
    """At the end."""
    packets[p].link = NOBODY
    if queue.count == 0:
        queue.head = p
    else:
        packets[queue.tail].link = p
    queue.tail = p
    queue.count += 1


@inlined
def pop(packets, queue):
    """From the front; it is not empty."""
    p = queue.head
    queue.head = packets[p].link
    queue.count -= 1
    return p


@inlined
def remove(packets, queue, p):
    """From anywhere in the queue, in which it is."""
    if queue.head == p:
        pop(packets, queue)
        return
    before = queue.head
    while packets[before].link != p:
        before = packets[before].link
    packets[before].link = packets[p].link
    if queue.tail == p:
        queue.tail = before
    queue.count -= 1


@inlined
def allocate(s):
    """A packet of the pool, which is not empty."""
    w = s.world[0]
    p = w.free
    w.free = s.packets[p].link
    w.spare -= 1
    w.under_way += 1
    return p


@inlined
def release(s, p):
    """Back to the pool."""
    w = s.world[0]
    s.packets[p].link = w.free
    w.free = p
    w.spare += 1
    w.under_way -= 1
    s.flows[s.packets[p].flow].inflight -= 1


@inlined
def drop_skb(s, core, p, name):
    """Count and release all segments of an skb."""
    while p != NOBODY:
        following = s.packets[p].next
        if s.packets[p].time >= s.world[0].warmup:
            s.drops[name] += 1
        finish(s, core, s.packets[p].slot)
        release(s, p)
        p = following


@inlined
def finish(s, core, slot):
    """A packet is through on this core, or was dropped behind its queue: paths end here."""
    if slot == LOCAL_SLOT:
        s.sources[s.cores[core].source].local_finished += 1
    if slot <= LOCAL_SLOT:
        return
    s.workers[slot * WORKER_WORDS + W_FINISHED] += _1


@inlined
def set_event(s, core, time):
    """The core's next event is then; the tournament is played again along its path.

    Without branches, for nobody can predict who wins: times are compared by their bits, which are
    in order as none is negative. At the same time the lower core wins.
    """
    winner, node = core, s.tree.size // 2 + core
    s.at[node] = time
    mine = s.at_bits[node]
    while node > 1:
        theirs = s.at_bits[node ^ 1]
        if_theirs = (theirs - (node & 1) - mine) >> 63
        mine ^= (mine ^ theirs) & if_theirs
        winner ^= (winner ^ s.tree[node ^ 1]) & if_theirs
        node >>= 1
        s.tree[node], s.at_bits[node] = winner, mine


@inlined
def poke(s, core, time):
    """Something waits for a core; an idle one looks at it then."""
    if s.cores[core].unit == IDLE and time < s.at[s.tree.size // 2 + core]:
        set_event(s, core, time)


@inlined
def wake_worker(s, core, by, cost, t):
    """The thread of the core's worker has something to do."""
    w = s.world[0]
    if s.cores[core].worker_asleep and s.queues[core, CPUMAP].count > 0:
        s.cores[core].worker_asleep = 0
        s.cores[core].worker_at = t + w.wake_latency
        s.cores[by].debt += cost
        w.wakeups += 1
        if s.cores[core].unit == IDLE:
            w.ipis += 1
            poke(s, core, s.cores[core].worker_at)


@inlined
def latency_bin(ns):
    """Of the histogram: the exponent and the first bits of the number's own form."""
    bits = np.float64(1.0 + max(0.0, ns)).view(np.int64)
    return min((bits >> _BELOW_BIN) - _FIRST_BIN, LATENCY_BINS - 1)


def start_of_bin(place: float) -> float:
    """The latency in ns at which a bin begins: 32 to an octave, of the same width."""
    octave, part = divmod(place, 32)
    return float(2.0**octave * (1.0 + part / 32.0) - 1.0)


def tournament(cores: int) -> tuple[np.ndarray, np.ndarray]:
    """All cores at time 0: who wins at each node, and when; the root is node 1."""
    leaves = 1 << max(1, (cores - 1).bit_length())
    tree, at = np.zeros(2 * leaves, np.int64), np.zeros(2 * leaves)
    tree[leaves:] = np.arange(leaves)
    at[leaves + cores :] = NEVER
    for node in range(leaves - 1, 0, -1):
        tree[node], at[node] = tree[2 * node], at[2 * node]
    return tree, at
