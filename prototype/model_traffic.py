"""What arrives: each NIC queue has a source of its own, drawn as far as its core has come."""

# mypy: disable-error-code="untyped-decorator,no-untyped-def,no-untyped-call"

from prototype.model_jit import inlined
from prototype.model_queues import allocate, exponential, push
from prototype.model_state import D_RING, NEVER, NOBODY, RING


@inlined
def _next_flow(s, source):
    """Flows send in turn, a train of packets each."""
    w = s.world[0]
    if source.train == 0:
        source.train = w.train
        source.turn = (source.turn + 1) % source.flows
    source.train -= 1
    return s.order_of_flows[source.first_flow + source.turn]


@inlined
def _advance(s, source):
    """When the next packet is due; nothing is after the end."""
    w = s.world[0]
    source.burst -= 1
    if source.burst <= 0:
        source.burst = w.burst
        source.next += source.gap * (exponential(source) if w.poisson else 1.0)
    if source.next >= w.stop:
        source.next = NEVER


@inlined
def _made(s, flow, due):
    """A packet that its flow sends."""
    w, f = s.world[0], s.flows[flow]
    p = allocate(s)
    packet = s.packets[p]
    packet.time, packet.seq, packet.flow = due, f.sent, flow
    packet.next, packet.tail, packet.segments = NOBODY, p, 1
    packet.far = 0.0
    f.sent += 1
    f.inflight += 1
    if due >= w.warmup:
        w.offered += 1
    return p


@inlined
def arrive(s, core, t):
    """Into the NIC's ring with all that has arrived by now.

    A frame takes its time on the link, behind those before it. A flow whose window is full (TCP)
    lets its turn pass.
    """
    w, source = s.world[0], s.sources[s.cores[core].source]
    ring = s.queues[core, RING]
    while True:
        arrival = max(source.next, source.line)
        if arrival > t:
            return
        due = source.next
        source.line = arrival + w.frame
        flow = _next_flow(s, source)
        _advance(s, source)
        if w.window and s.flows[flow].inflight >= w.window:
            continue
        if ring.count >= ring.limit:
            s.flows[flow].sent += 1
            if due >= w.warmup:
                w.offered += 1
                s.drops[D_RING] += 1
            continue
        if ring.count == 0:
            source.interrupt = arrival + w.hold + w.irq_latency
        push(s.packets, ring, _made(s, flow, due))
        if ring.count == w.frames:
            source.interrupt = min(source.interrupt, arrival + w.irq_latency)


@inlined
def interrupt_at(s, core):
    """When the NIC interrupts the core, as far as that is known: at the latest when the first
    packet has waited long enough; the next arrival may make it earlier."""
    w, source = s.world[0], s.sources[s.cores[core].source]
    waiting = s.queues[core, RING].count
    if waiting >= w.frames:
        return source.interrupt
    upcoming = max(source.next, source.line)
    if waiting == 0:
        return upcoming + (w.irq_latency if w.frames == 1 else 0.0)
    return min(source.interrupt, upcoming)


@inlined
def is_interrupted(s, core, t):
    """Whether enough have come, or the first one has waited long enough."""
    return s.queues[core, RING].count > 0 and t >= s.sources[s.cores[core].source].interrupt


@inlined
def sent_at(s, core):
    """When the lab's wire sends its next batch: at once if it goes as fast as it can."""
    w, source = s.world[0], s.sources[s.cores[core].source]
    return source.next + (w.hold if source.gap > 0 else 0.0)


@inlined
def send_batch(s, core, t, each):
    """The lab's wire makes what is due, at most a batch: how many. ``each``: ns for one."""
    w, source = s.world[0], s.sources[s.cores[core].source]
    ring = s.queues[core, RING]
    made = 0
    while made < w.batch and source.next < NEVER:
        due = source.next
        if source.gap > 0:
            if due > t:
                break
            flow = _next_flow(s, source)
            _advance(s, source)
        else:
            due = t + made * each
            flow = _next_flow(s, source)
            source.next = NEVER if due + each >= w.stop else due + each
        push(s.packets, ring, _made(s, flow, due))
        made += 1
    return made
