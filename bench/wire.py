"""The wire: live frames stand for the peer host and its NIC (BPF_F_TEST_XDP_LIVE_FRAMES).

A wire thread makes frames inside the kernel and puts them on ``wire0``; the softirq of ``nic0``
runs in its context, on its core, as a NIC's would on the core of its interrupt. With several
threads each feeds the receive queue of its own core: that is how a NIC's RSS is stood in for.
"""

import os
import socket
import struct
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.lab_plan import Lab
from bench.traffic import Frame, Traffic, frames, gaps, pace, weights
from steering import bpf
from steering.closing import Closing
from steering.compile import Module, counter_names
from steering.errors import OversprayError
from steering.layout import header
from steering.netns import entered

_EINTR = 4
_LATE_NS = 100_000
# Calls in one system call: some milliseconds, so that a stop is heeded soon.
_CALLS = 16384


@dataclass(frozen=True)
class Offered:
    """What the wire did, over all of its threads."""

    sent: int
    idle: int
    """Turns in which nothing was due: the wire waits by spinning."""
    late: int
    """Packets that left more than 100 us after their time."""
    counts: Mapping[str, int]
    """All of enum wire_counter by name."""
    took: float | None = None
    """Seconds of it, where it has a clock of its own."""
    whole: bool = True
    """Of streams: the receiver has acknowledged every byte."""


class Wire(Closing):
    """The wire of one lab. A context manager; configure, then start and stop as often as wanted.

    It sends datagrams; bench.wire_tcp has the one for TCP.
    """

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.threads: list[int] = []
        """Kernel thread ids of the running wire threads."""
        self._modules: dict[int, tuple[Module, int]] = {}
        self._links: list[int] = []
        self._running: list[threading.Thread] = []
        self._stop = threading.Event()
        self._failure: list[OversprayError] = []
        self._frames: list[Frame] = []
        self._cores: list[int] = []
        self._dispatched = -1

    def configure(
        self,
        traffic: Traffic,
        run: int,
        cores: Sequence[int] = (0,),
        owner: Sequence[int] | None = None,
        limit: int | None = None,
    ) -> None:
        """Set up what the next start sends, from sequence 0.

        Each core gets a wire thread; ``owner[i]`` is the position in ``cores`` of the thread that
        sends flow i (none: the first sends all). ``limit``: packets each thread sends at the most.
        """
        self._frames = frames(self.lab, traffic, run)
        self._cores = list(cores)
        self._now, self._program = self._module(self._frames[0].header_bytes)
        owned = list(owner or [0] * traffic.flows)
        self._fill(self._now, traffic, owned, limit)
        order = [
            flow for at in range(len(self._cores)) for flow, by in enumerate(owned) if by == at
        ]
        self._put_flows(self._now, order, run)

    def start(self, seconds: float = 1.0) -> None:
        """Start sending; it goes on until :meth:`stop`, whatever ``seconds`` it is meant for."""
        assert not self._running, "the wire is running"
        self._stop.clear()
        ready = threading.Barrier(len(self._cores) + 1)
        self.threads = []
        for core in self._cores:
            thread = threading.Thread(target=self._send, args=(core, ready), name=f"wire {core}")
            thread.start()
            self._running.append(thread)
        ready.wait()

    def stop(self) -> Offered:
        """Stop sending; returns what was offered since :meth:`configure`.

        Raises:
            OversprayError: the kernel ended a live run.
        """
        self._stop.set()
        for thread in self._running:
            thread.join()
        self._running = []
        if self._failure:
            raise self._failure.pop()
        return self.offered()

    def offered(self) -> Offered:
        """What was offered since :meth:`configure`."""
        counts = self._now.total("wire_counters", "wire_counter")
        return Offered(counts["sent"], counts["idle"], counts["late"], counts)

    def sent_by_flow(self) -> list[int]:
        """Packets of each flow since :meth:`configure`."""
        dtype = header("wire.h").struct("wire_flow")
        rows = [self._now.get("wire_flows", dtype, place) for place in range(len(self._frames))]
        return [sent for _, sent in sorted((int(row["id"]), int(row["sequence"])) for row in rows)]

    def finish(self) -> None:
        """End what is left of it, all that was sent having arrived: of datagrams, nothing."""

    def spun(self) -> dict[int, int]:
        """ns that the wire of each core has waited by spinning, since :meth:`configure`."""
        column = counter_names("wire_counter").index("spun")
        waited = self._now.counts("wire_counters", "wire_counter")[:, column]
        return {core: int(waited[core]) for core in self._cores}

    def close(self) -> None:
        """Stop, and let go of programs and maps."""
        if self._running:
            self.stop()
        for link in self._links:
            os.close(link)
        for module, _ in self._modules.values():
            module.close()
        self._links, self._modules = [], {}

    def _compiled(self, header_bytes: int) -> tuple[Module, int]:
        module = Module("wire.bpf.c", defines={"HEADER_BYTES": header_bytes})
        return module, module.load("wire", bpf.PROG_TYPE_XDP)

    def _module(self, header_bytes: int) -> tuple[Module, int]:
        if header_bytes not in self._modules:
            module, program = self._compiled(header_bytes)
            self._modules[header_bytes] = module, program
            with entered(self.lab.wire_ns):
                port = socket.if_nametoindex(self.lab.wire)
                module.put("wire_port", 0, struct.pack("=II", port, 0))
        self._dispatch(*self._modules[header_bytes])
        return self._modules[header_bytes]

    def rest(self) -> None:
        """Leave the loopback device to another wire of this lab; the next start takes it back."""
        for link in self._links:
            os.close(link)
        self._links = []
        self._dispatched = -1

    def _dispatch(self, module: Module, program: int) -> None:
        """Keep the program attached somewhere, for it stays in the XDP dispatcher then; else every
        live run would wait for an RCU grace period. Nothing arrives on this loopback device.
        """
        if self._dispatched == program:
            return
        self.rest()
        with entered(self.lab.wire_ns):
            loopback, flags = socket.if_nametoindex("lo"), bpf.XDP_FLAGS_SKB_MODE
            self._links.append(bpf.link_create(program, loopback, bpf.ATTACH_XDP, flags))
        self._dispatched = program

    def _fill(self, module: Module, traffic: Traffic, owner: list[int], limit: int | None) -> None:
        layout = header("wire.h")
        cpus = bpf.possible_cpus()
        settings = np.zeros(cpus, layout.struct("wire_settings"))
        state = np.zeros(cpus, layout.struct("wire_state"))
        state["random"] = np.random.default_rng(traffic.seed).integers(1, 1 << 32, cpus)
        weight, place = weights(traffic), 0
        for position, core in enumerate(self._cores):
            mine = [flow for flow, at in enumerate(owner) if at == position]
            arrivals = pace(traffic, sum(weight[flow] for flow in mine) / sum(weight))
            row = settings[core]
            row["gap"], row["hold"], row["batch"] = arrivals.gap, arrivals.hold, arrivals.batch
            row["burst"], row["train"], row["random"] = (
                arrivals.burst,
                arrivals.train,
                arrivals.random,
            )
            row["heavy"] = weight[mine[0]] if mine else arrivals.train
            row["limit"] = (1 << 62 if limit is None else limit) if mine else 0
            row["late"], row["first"], row["flows"] = _LATE_NS, place, len(mine)
            place += len(mine)
            if arrivals.random:
                for index, gap in enumerate(gaps(arrivals.gap)):
                    module.put("wire_gaps", index, gap.tobytes())
        module.put("wire_settings", 0, settings)
        module.put("wire_state", 0, state)
        width = len(counter_names("wire_counter"))
        module.put("wire_counters", 0, np.zeros((cpus, width), np.uint64).tobytes())
        self._batch = pace(traffic, 1).batch

    def _put_flows(self, module: Module, order: Sequence[int], run: int) -> None:
        """Flows in the order of their places."""
        for place, index in enumerate(order):
            frame = self._frames[index]
            flow = np.zeros((), header("wire.h").struct("wire_flow"))
            flow["sum"], flow["run"], flow["id"] = frame.sum, run, index
            flow["words"] = words(frame.data[: frame.header_bytes], flow["words"].size)
            module.put("wire_flows", place, flow)

    def _send(self, core: int, ready: threading.Barrier) -> None:
        try:
            os.sched_setaffinity(0, {core})
            self.threads.append(threading.get_native_id())
            data = self._frames[0].data
            repeat = max(1, _CALLS // self._batch) * self._batch
            with entered(self.lab.wire_ns):
                loopback = socket.if_nametoindex("lo")
                ready.wait()
                while not self._stop.is_set():
                    self._run_once(data, repeat, loopback)
        except OversprayError as error:
            self._failure.append(error)

    def _run_once(self, data: bytes, repeat: int, ifindex: int) -> None:
        try:
            bpf.prog_test_run(
                self._program, data, repeat=repeat, ifindex=ifindex, live=True, batch=self._batch
            )
        except bpf.BpfError as error:
            if error.errno != _EINTR:
                raise


def words(data: bytes, most: int) -> NDArray[np.uint64]:
    """Bytes as 64-bit words, filled up with zeros: shape (most,)."""
    padded = np.zeros(most * 8, np.uint8)
    padded[: len(data)] = np.frombuffer(data, np.uint8)
    return padded.view(np.uint64)
