"""The policy is asked: what it may know of flow, core and workers, and what becomes of its slot."""

# mypy: disable-error-code="untyped-decorator,no-untyped-def,no-untyped-call"

import numpy as np

from prototype.model_jit import inlined
from prototype.model_queues import call_policy
from prototype.model_state import (
    LOCAL_SLOT,
    STOCK_SLOT,
    W_FINISHED,
    W_LOST,
    W_SENT,
    WORKER_WORDS,
)

_1 = np.uint64(1)


@inlined
def _is_clear(s, f):
    """As steer.bpf.c and path.h: all that was sent has come out."""
    if f.path_slot == LOCAL_SLOT:
        return s.sources[f.path_core].local_finished >= f.path_place
    row = f.path_slot * WORKER_WORDS
    finished, lost = np.int64(s.workers[row + W_FINISHED]), np.int64(s.workers[row + W_LOST])
    drained = lost + finished >= np.int64(s.workers[row + W_SENT])
    return drained or finished + f.path_lost >= f.path_place


@inlined
def _follow(s, n, f, slot):
    """Remember the place of a flow's last packet."""
    f.path_slot = slot
    if slot == LOCAL_SLOT:
        f.path_place, f.path_core = s.sources[n].local_sent, n
        return
    row = slot * WORKER_WORDS
    f.path_place = np.int64(s.workers[row + W_SENT])
    f.path_lost = np.int64(s.workers[row + W_LOST])


@inlined
def decide(s, n, p, t):
    """The policy's slot for a packet, or that of stock for one that it may not return."""
    w, packet, facts = s.world[0], s.packets[p], s.packet[0]
    f = s.flows[packet.flow]
    facts.now = np.uint64(t) if s.needs[2] else np.uint64(0)
    facts.hash = f.hash
    facts.flow = packet.flow
    facts.container = packet.flow  # each flow goes to a container of its own
    facts.queue = n
    facts.clear = _is_clear(s, f) if s.needs[0] else 0
    facts.pressed = s.sources[n].pressed if s.needs[1] else 0
    a = s.policy
    state = a[3] + np.uint64(packet.flow) * a[5]
    slot = np.int64(call_policy(a[0], a[1], a[2], state, a[6 + n], a[4]))
    if slot > w.workers:
        w.refused += 1
        w.fault |= slot == 0xFFFFFFFF
        packet.place = w.stock
        return STOCK_SLOT
    if slot == LOCAL_SLOT:
        s.sources[n].local_sent += 1
    else:
        s.workers[slot * WORKER_WORDS + W_SENT] += _1
    if s.needs[0]:
        _follow(s, n, f, slot)
    return slot
