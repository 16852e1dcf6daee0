"""What the model remembers: packets, queues, cores, flows and sources, as flat numpy records.

Everything that changes stands in one of these arrays, so that memory does not grow with the number
of packets, a run can be stopped and continued anywhere, and two runs never share anything. Times
are ns (float64) since the start of the run; packets are named by their place in the pool, -1 is
none.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from steering.hosted import WORKERS

# numpy's integers, all of one kind: numba compiles a copy of a function for each Python literal.
_NUMBERS = tuple(np.int64(n) for n in range(17))

NEVER = np.inf
NOBODY = np.int64(-1)
LOCAL_SLOT = np.int64(0)
STOCK_SLOT = np.int64(-1)
"""Of a packet that no policy steers: stock Linux, or a refused slot."""

# Queues of a core. A softirq polls those up to LAST_HOP, in turn.
RING, HOP, CELLS, VETH, LAST_HOP = _NUMBERS[:5]
CPUMAP, HAND, INLINE, HELD, HELD_WORKER, SOCKET = _NUMBERS[5:11]
QUEUES = 11
HELD_SOFTIRQ, HELD_THREAD = np.int64(0), np.int64(1)
"""The NIC's ring; a core's backlog, the tunnel device's cells, a veth's ring; a worker's queue and
the bulk it has in hand; skbs that go on at once; what GRO holds, in a softirq and in a worker's
thread; what applications on this core have not read yet."""

# What a core is doing; the end of it is the core's next event.
IDLE, RX, WORK, STAGE, TO_SOCKET, FLUSH, READ, WIRE = _NUMBERS[:8]
UNITS = ("idle", "receive", "take", "stack", "socket", "flush", "read", "wire")

# Whose time that is.
NONE, SOFTIRQ, WORKER, APPLICATION, SENDER = _NUMBERS[:5]
KINDS = ("", "softirq", "cpumap", "application", "wire")

# Rows of the table of costs: one stage, or several that always come together.
(
    C_RX_LOCAL,
    C_RX_REMOTE,
    C_WORK,
    C_TAKE,
    C_BULK,
    C_SOCKET,
    C_SEGMENT,
    C_READ,
    C_IRQ,
    C_SOFTIRQ,
    C_POLL,
    C_IPI,
    C_WAKE,
    C_SWITCH,
    C_WIRE,
    C_HOP,
    C_STAGE,
) = _NUMBERS
STAGES = LAST_HOP - HOP + 1
COSTS = C_STAGE + STAGES
QUANTILES = 256

# Drops by name, each with its stage.
DROPS = (
    ("nic", "ring_full"),
    ("worker", "queue_full"),
    ("nic", "backlog_full"),
    ("tunnel", "queue_full"),
    ("veth", "backlog_full"),
    ("udp", "socket_full"),
)
D_RING, D_WORKER, D_BACKLOG, D_TUNNEL, D_VETH, D_SOCKET = _NUMBERS[:6]

PACKET = np.dtype(
    [
        ("time", "f8"),  # intended send time
        ("seq", "i8"),
        ("far", "f8"),  # ns to get its memory from another core; of an skb: a segment's
        ("link", "i8"),  # the next one in the queue
        ("next", "i8"),  # the next segment of the skb
        ("tail", "i8"),  # of an skb: its last segment
        ("flow", "i4"),
        ("segments", "i4"),
        ("slot", "i4"),
        ("place", "i4"),  # the stage that comes next
    ],
    align=True,
)
assert PACKET.itemsize == 64  # a cache line
QUEUE = np.dtype(
    [
        ("head", "i8"),
        ("tail", "i8"),
        ("count", "i8"),
        ("limit", "i8"),
        ("spliced", "i8"),  # of a backlog: moved to the poll's own list, where no limit counts
    ]
)
CORE = np.dtype(
    [
        ("began", "f8"),
        ("debt", "f8"),  # work found out meanwhile; the next unit pays it
        ("worker_at", "f8"),  # from when the woken thread can run
        ("app_at", "f8"),
        ("since", "f8"),  # when softirqs began to run without a pause
        ("unit", "i8"),
        ("context", "i8"),
        ("packet", "i8"),
        ("skb", "i8"),  # segments that are to be queued to the socket
        ("source", "i8"),  # of the NIC queue that interrupts this core, or NOBODY
        ("slot", "i8"),  # of its worker, 0 for none
        ("scheduled", "i8"),  # queues that are to be polled, as bits
        ("poll", "i8"),
        ("last_poll", "i8"),
        ("left", "i8"),
        ("gathered", "i8"),  # packets since the worker's last GRO flush
        ("thread", "i8"),  # that ran last
        ("worker_asleep", "i8"),
        ("app_asleep", "i8"),
        ("deferred", "i8"),  # softirqs wait their turn (ksoftirqd)
    ],
    align=True,
)
FLOW = np.dtype(
    [
        ("sent", "i8"),
        ("expected", "i8"),  # RFC 4737's NextExp
        ("locked", "f8"),  # until when the socket is
        ("path_place", "i8"),  # where its last packet went: see xdp/include/path.h
        ("path_lost", "i8"),
        ("path_slot", "i8"),
        ("path_core", "i8"),
        ("hash", "u4"),
        ("owner", "i8"),  # core that had the socket last
        ("queued", "i8"),  # in the socket
        ("inflight", "i8"),
        ("app", "i8"),  # core of the application
        ("rps", "i8"),  # core that a hash over the mask names
    ],
    align=True,
)
SOURCE = np.dtype(
    [
        ("next", "f8"),  # when the next packet is due
        ("line", "f8"),  # until when the link is taken
        ("interrupt", "f8"),  # when what waits in the ring raises one
        ("gap", "f8"),  # mean, ns; 0: as fast as it goes
        ("rng", "u8"),
        ("core", "i8"),
        ("first_flow", "i8"),  # in `order_of_flows`
        ("flows", "i8"),
        ("turn", "i8"),
        ("train", "i8"),  # packets left of this flow's turn
        ("burst", "i8"),  # packets left that are due at once
        ("pressed", "i8"),
        ("local_sent", "i8"),
        ("local_finished", "i8"),
    ],
    align=True,
)
WORLD = np.dtype(
    [
        ("now", "f8"),
        ("warmup", "f8"),
        ("stop", "f8"),
        ("rng", "u8"),
        ("frame", "f8"),  # ns that one takes on the link
        ("hold", "f8"),  # moderation, ns
        ("frames", "i8"),  # moderation, packets
        ("batch", "i8"),  # of the lab's wire
        ("train", "i8"),
        ("burst", "i8"),
        ("poisson", "i8"),
        ("lab", "i8"),  # the wire is a thread on the NIC's core
        ("window", "i8"),  # packets of one flow under way; 0: without bound
        ("ours", "i8"),
        ("merge", "i8"),  # segments of an skb, 1: no GRO
        ("sequenced", "i8"),  # GRO takes only what follows (TCP)
        ("stock", "i8"),  # first stage of the path that a refused packet takes
        ("workers", "i8"),
        ("reads", "i8"),  # an application does
        ("room", "i8"),  # of a socket, packets
        ("weighs", "f8"),  # a worker's time, by its thread's weight
        ("lock", "f8"),  # of a socket's cost, what only one core can do
        ("bounce", "f8"),  # a lock's line from another core
        ("cold", "f8"),
        ("deep", "f8"),
        ("depth", "f8"),
        ("byte", "f8"),
        ("copy", "f8"),
        ("length", "f8"),  # payload
        ("frame_bytes", "f8"),
        ("irq_latency", "f8"),
        ("ipi_latency", "f8"),
        ("wake_latency", "f8"),
        ("slice", "f8"),
        ("softirq_limit", "f8"),
        ("contention", "f8"),
        ("memory", "f8"),  # bytes a ns; 0: without bound
        ("cost", "f8"),  # of the unit that is about to begin
        ("wait", "f8"),
        ("unit", "i8"),
        ("packet", "i8"),
        ("window_end", "f8"),
        ("window_bytes", "f8"),
        ("pressure", "f8"),  # memory's: factor of what moves bytes
        ("moved_bytes", "f8"),
        ("busy", "i8"),
        ("free", "i8"),
        ("spare", "i8"),
        ("under_way", "i8"),
        ("offered", "i8"),
        ("delivered", "i8"),
        ("in_time", "i8"),  # delivered in the measured time
        ("reordered", "i8"),
        ("refused", "i8"),
        ("softirqs", "i8"),
        ("polls", "i8"),
        ("polled", "i8"),
        ("bulks", "i8"),
        ("bulked", "i8"),
        ("wakeups", "i8"),
        ("switches", "i8"),
        ("preemptions", "i8"),
        ("irqs", "i8"),
        ("ipis", "i8"),
        ("received", "i8"),  # out of NIC rings
        ("gathered", "i8"),  # by GRO, or that could have been
        ("skbs", "i8"),
        ("events", "i8"),
        ("logged", "i8"),
        ("traced", "i8"),
        ("fault", "i8"),
    ],
    align=True,
)
TRACE = np.dtype(
    [
        ("begin", "f8"),
        ("end", "f8"),
        ("core", "i8"),
        ("unit", "i8"),
        ("kind", "i8"),
        ("flow", "i8"),
        ("seq", "i8"),
        ("slot", "i8"),
    ],
    align=True,
)

# struct worker as 64-bit words; struct workers begins with as many words that hold the count.
WORKER_WORDS = np.int64(WORKERS["worker"].base.itemsize // 8)
_FIELDS = WORKERS["worker"].base.fields
assert _FIELDS is not None and WORKERS.fields is not None
assert WORKERS.fields["worker"][1] == WORKER_WORDS * 8
W_SENT, W_LOST, W_DONE, W_STARTED, W_FINISHED, W_YIELDED, W_BATCHES = (
    np.int64(_FIELDS[name][1] // 8)
    for name in ("sent", "lost", "done", "started", "finished", "yielded", "batches")
)

LATENCY_BINS = 32 * 48
"""Of the histogram of latencies: 32 to an octave, from 1 ns."""


class State(NamedTuple):
    """All arrays of a run; scalars of the run are in ``world[0]``."""

    world: NDArray[np.void]
    packets: NDArray[np.void]
    queues: NDArray[np.void]
    """[core, queue]."""
    bulks: NDArray[np.void]
    """[source, worker]: what the NIC stage has not handed over yet."""
    held: NDArray[np.int64]
    """[core x 2, flow]: the skb that GRO holds."""
    cores: NDArray[np.void]
    flows: NDArray[np.void]
    order_of_flows: NDArray[np.int64]
    """Flows of the sources, one source after the other."""
    sources: NDArray[np.void]
    tables: NDArray[np.float64]
    """[cost, quantile], ns."""
    hops: NDArray[np.int64]
    """[stage, 3]: what lies before it (nothing 0, a backlog on the same core 1, on the core that
    RPS names 2); 1 if it is the path's last; name of the backlog's drop."""
    tree: NDArray[np.int64]
    """Winners of the tournament for the next event; leaves are cores, the root is node 1."""
    at: NDArray[np.float64]
    """[node]: when the winner's unit ends."""
    at_bits: NDArray[np.int64]
    """The same memory, as integers."""
    worker_core: NDArray[np.int64]
    """[slot]."""
    workers: NDArray[np.uint64]
    """struct workers."""
    packet: NDArray[np.void]
    """struct packet, one."""
    policy: NDArray[np.uint64]
    """Addresses: decide, packet, knobs, flow states, workers, then one core state a source."""
    needs: NDArray[np.int64]
    """clear, pressure, time."""
    drops: NDArray[np.int64]
    fair: NDArray[np.float64]
    """[core, kind]: time that each had, weighed: the scheduler runs whoever had least."""
    busy: NDArray[np.float64]
    """[core, kind], ns of the measured time."""
    latency: NDArray[np.int64]
    log: NDArray[np.int64]
    """[arrival, (flow, sequence)]: deliveries in their order, of which RFC 5236 is computed."""
    trace: NDArray[np.void]
