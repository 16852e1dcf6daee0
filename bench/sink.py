"""The sinks: a UDP socket in each container, whose filter counts every packet.

`count` drops it there. That is the kernel path's ceiling: all that an application would be woken for, and no
application. With `read` one of ours takes it (`bench.reader`), with `app` any other (`bench.application`).
Order and latency are those of samples: whole windows of neighbours, for what overtakes whom only neighbours
tell.
"""

import socket
import struct
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench import iperf3
from bench.application import Application, Runs
from bench.frame import FIRST_PORT, SINK_PORT
from bench.histogram import BUCKETS, count
from bench.lab import Lab
from bench.reader import Reader, Reads, reads_of
from prototype.order import Order, measure
from steering import cores, netns
from steering.bpf import Kind
from steering.closing import Closing
from steering.compile import Module
from steering.errors import BadInput
from steering.layout import header
from steering.spec import Spec

_SO_ATTACH_BPF = 50
_LAYOUT = header("sink.h")
_LOG = _LAYOUT.constants["SINK_LOG"]
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
ARRIVAL = _LAYOUT.struct("arrival")


@dataclass(frozen=True)
class Window:
    """The first ``length`` of every ``period`` (a power of two) packets of a flow are sampled."""

    length: int
    period: int


EVERY = Window(1, 1)
"""All packets: for exact counts of few."""
SHARE = Window(1024, 65536)
"""1.6 %: a sample costs the clock, 20 to 40 ns, and a line of the log."""


User = Reads | Runs
"""Who takes what comes to a sink: a reader of ours, or a program."""


def user_of(text: str) -> User | None:
    """``count``: None; ``read[:core=N,batch=N]``; ``iperf3[:core=N]``; ``app:[core=N,]run=COMMAND``. The core
    is the last one, if left out. BadInput: no such sink, knob, core or program.
    """
    form = "choose count, read[:core=N,batch=N], iperf3[:core=N], or app:[core=N,]run=COMMAND"
    head, run, command = text.strip().partition("run=")
    spec = Spec.parse(head.rstrip(":,") if run else text)
    if spec.name == "count" and not spec.args:
        return None
    if spec.name == "read" and not run:
        return reads_of(spec)
    if (spec.name, run) not in {("app", "run="), ("iperf3", "")} or spec.args.keys() - {"core"}:
        raise BadInput(f"sink '{text}': {form}")
    runs = Runs(reads_of(Spec("read", spec.args)).core, command.strip() if run else iperf3.COMMAND)
    runs.check()
    return runs


class Sink(Closing):
    """The sinks of one lab, as one. A context manager.

    ``user``: who takes what comes to each; None: nobody. ``connected``: sockets of ours receive from the
    wire's first flow alone, as RFS wants it to know that flow's reader.
    """

    def __init__(
        self, lab: Lab, window: Window = EVERY, user: User | None = None, connected: bool = False
    ) -> None:
        self._window, self._user = window, user
        self.readers: list[Reader] = []
        self.applications: list[Application] = []
        with ExitStack() as stack:
            self._module = stack.enter_context(Module("sink.bpf.c", defines={"CORES": cores.possible()}))
            program = self._module.load("sink", Kind.SOCKET_FILTER)
            self._log = self._module.map("sink_log").mapped(ARRIVAL)
            self.begin(1)
            filter = struct.pack("=i", program)
            for name, address in lab.sinks:
                if isinstance(user, Runs):
                    started = stack.enter_context(Application(name, address, SINK_PORT, user))
                    for one in started.sockets:
                        one.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_BPF, filter)
                    self.applications.append(started)
                    continue
                with netns.entered(name):
                    one = stack.enter_context(socket.socket(_FAMILY[lab.plan.inner], socket.SOCK_DGRAM))
                # The filter before bind: a packet in between would be queued and not counted.
                one.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_BPF, filter)
                one.bind((address, SINK_PORT))
                if connected:
                    one.connect((lab.plan.sender, FIRST_PORT))
                if isinstance(user, Reads):
                    self.readers.append(stack.enter_context(Reader(one, user, self._is_sampled)))
            self._open = stack.pop_all()

    @property
    def reads(self) -> bool:
        """Whether readers of ours take what comes, so that order and latency are as they had it."""
        return isinstance(self._user, Reads)

    @property
    def threads(self) -> list[int]:
        """Of those who take what comes, as the kernel knows them."""
        return [
            *(reader.thread for reader in self.readers),
            *(thread for each in self.applications for thread in each.threads),
        ]

    def begin(self, run: int) -> None:
        """Forget all, and count packets of that run from now on."""
        for name in ("sink_counters", "sink_latency", "sink_logged"):
            table = self._module.map(name)
            table.put(0, bytes(table.size * cores.possible()))
        users: list[Reader | Application] = [*self.readers, *self.applications]
        for each in users:
            each.forget()
        values = (
            *(run, self._window.period - 1, self._window.length),
            *(self._user is not None, isinstance(self._user, Runs)),
        )
        self._module.map("sink_settings").put(0, struct.pack("=5I", *values))

    def counts(self) -> dict[str, int]:
        """All of enum sink_counter by name, summed over the cores."""
        counted = self._module.counts("sink_counters", "sink_counter")
        return {name: int(values.sum()) for name, values in counted.items()}

    @property
    def arrived(self) -> int:
        """Packets of this run that came to the sockets; not all of them may have had room there."""
        return self.counts()["delivered"]

    @property
    def delivered(self) -> int:
        """Packets of this run that came to their end: read, where a reader of ours does; to an application,
        those that had room."""
        for reader in self.readers:
            if reader.error:
                raise reader.error
        if self.reads:
            return sum(reader.read for reader in self.readers)
        dropped = sum(each.dropped for each in self.applications)  # before what came: never more than that
        return self.arrived - dropped

    @property
    def bytes(self) -> int:
        """UDP payload of them; all have the same length."""
        counts = self.counts()
        return counts["bytes"] * self.delivered // max(1, counts["delivered"])

    @property
    def unlogged(self) -> int:
        """Samples for which a log had no room."""
        if self.reads:
            return sum(reader.unlogged for reader in self.readers)
        return self.counts()["unlogged"]

    def by_core(self) -> dict[int, int]:
        """Packets that arrived on each core; cores without any are left out."""
        counted = self._module.counts("sink_counters", "sink_counter")["delivered"]
        return {core: int(count) for core, count in enumerate(counted) if count}

    def latency(self) -> NDArray[np.uint64]:
        """Histogram (`bench.histogram`) of the samples' ns from the intended send time to the sink, or until
        they were read."""
        if self.reads:
            return sum((count(reader.latencies()) for reader in self.readers), count([]))
        rows = self._module.map("sink_latency").get(np.dtype([("count", "<u4", (BUCKETS,))]))["count"]
        total: NDArray[np.uint64] = rows.sum(axis=0).astype(np.uint64)
        return total

    def arrivals_by_core(self) -> list[NDArray[np.void]]:
        """The samples (dtype ARRIVAL) that each core's filter saw, in its order."""
        logged = self._module.map("sink_logged").get(np.dtype("<u8"))
        return [self._log[core * _LOG :][: int(count)] for core, count in enumerate(logged)]

    def arrivals(self) -> NDArray[np.void]:
        """The samples of all cores in order of arrival. The cores' clocks are one clock."""
        merged = np.concatenate(self.arrivals_by_core())
        return merged[np.argsort(merged["time"], kind="stable")]

    def order(self) -> Order:
        """Order and duplicates over all sampled windows of all flows, as they were read, or came."""
        if self.reads:
            return sum((self._order_of(reader.arrivals()) for reader in self.readers), measure([]))
        return self.order_at_sockets()

    def order_at_sockets(self) -> Order:
        """The same as the sockets' filters saw it, on several cores at once."""
        return self._order_of(self.arrivals())

    def _is_sampled(self, sequence: NDArray[np.uint32]) -> NDArray[np.bool_]:
        return (sequence & (self._window.period - 1)) < self._window.length

    def _order_of(self, found: NDArray[np.void]) -> Order:
        """Each window is a stretch of its own."""
        number = found["sequence"] // self._window.period if self._window.period > 1 else 0
        stretch = found["flow"].astype(np.int64) << 32 | number
        by_stretch = np.argsort(stretch, kind="stable")
        edges = np.flatnonzero(np.diff(stretch[by_stretch])) + 1
        total = measure([])
        for part in np.split(by_stretch, edges):
            total = total + measure(found["sequence"][part])
        return total

    def close(self) -> None:
        """Close the sockets, and let go of what was counted. Closing twice is harmless."""
        self._log = np.zeros(0, ARRIVAL)  # unmaps
        self._open.close()
