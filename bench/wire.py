"""The wire: live frames that stand for the other machine and its NIC (BPF_F_TEST_XDP_LIVE_FRAMES).

The program puts frames on ``wire0`` from inside the kernel; the softirq of ``nic0`` runs in the calling
thread, on its core, as a NIC's would on the core of its interrupt.
"""

import os
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bench.frame import FIRST_PORT, OUTER_PORT, Frame, build
from bench.lab import Lab
from bench.lanes import Lane, lanes
from bench.traffic import Traffic
from steering import bpf, cores, netns
from steering.bpf import Kind
from steering.closing import Closing
from steering.compile import Module
from steering.errors import OversprayError
from steering.layout import header
from steering.waiting import wait_for

NEEDS = ("capabilities", "devices", "native XDP on veth", "live frames", "tracepoints")
"""What the doctor must find for a wire to work; what the compiler misses, it says itself."""
_LOOPBACK = 1
_CALL = 32768
_ENDLESS = 1 << 62
_START_S = 20.0
_TABLES = {"turns": "turn", "batches": "batch", "gaps": "gap"}
_LANE = header("wire.h").struct("wire_lane")


class Wire(Closing):
    """The wire of one lab, sending from one core. A context manager.

    Raises BadInput where the core may not be used here.
    """

    def __init__(
        self, lab: Lab, traffic: Traffic | None = None, core: int | None = None, frame: Frame | None = None
    ) -> None:
        """``core``: the first one that may be used, if left out. ``frame``: instead of the traffic's."""
        self.lab, self.core = lab, cores.usable()[0] if core is None else core
        cores.require_usable(self.core)
        self.lanes: list[Lane] = []
        self.traffic = traffic or Traffic()
        self.frame = frame or build(lab.plan, self.traffic.payload)
        with ExitStack() as stack:  # what was opened is closed if the rest fails
            self._module = stack.enter_context(Module("wire.bpf.c", defines=sizes_of(self.frame)))
            self._program = self._module.load("wire", Kind.XDP)
            port = self._module.map("wire_port")
            self._port_id = port.id()
            self.begin(self.traffic.run)
            for event in ("devmap_xmit", "redirect_err"):
                observer = self._module.load(f"on_{event}", Kind.RAW_TRACEPOINT)
                stack.enter_context(bpf.Tracepoint(observer, f"xdp_{event}"))
            with netns.entered(lab.wire_ns):  # a devmap entry is resolved where it is written
                port.put(0, struct.pack("=I", lab.wire_index))
                # Attached somewhere, the program stays in the XDP dispatcher; else each call puts it there
                # and waits for RCU twice. This `lo` is the lab's own, and down.
                stack.enter_context(bpf.Link(self._program, _LOOPBACK, bpf.ATTACH_XDP, bpf.XDP_GENERIC))
            self._open = stack.pop_all()
        self.error: BaseException | None = None

    def close(self) -> None:
        """Detach and let go of all of it. Closing twice is harmless."""
        self._open.close()

    def begin(self, run: int, cores_of_flows: Sequence[int] = (), traffic: Traffic | None = None) -> None:
        """Stamp frames with that run from now on, and number each flow's from 0. ``traffic``: from now on, in
        place of what was sent before; of the same payload.

        Flow i is sent from, and so received on, ``cores_of_flows[i % len(cores_of_flows)]``; all from the
        wire's core if that is left out.
        """
        self.traffic = replace(traffic or self.traffic, run=run)
        config = config_of(self.frame, self.traffic, len(self.lab.plan.containers), self._port_id)
        self._module.map("wire_config").put(0, config)
        self.lanes = lanes(self.traffic, cores_of_flows or (self.core,))
        put_lanes(self._module, self.lanes)

    def counts(self) -> dict[str, int]:
        """All of enum wire_counter by name, summed over the cores."""
        return {name: int(values.sum()) for name, values in self.counts_by_core().items()}

    def counts_by_core(self) -> dict[str, NDArray[np.uint64]]:
        """The same, each of shape (possible cores,)."""
        return self._module.counts("wire_counters", "wire_counter")

    @property
    def sent(self) -> int:
        """Frames handed to ``wire0`` so far: the only truth about what was offered."""
        return self.counts()["sent"]

    def send(self, count: int) -> None:
        """Exactly ``count`` frames, at the traffic's rate, from the first lane. One thread at a time."""
        lane, goal = self.lanes[0], self.sent + count
        with self._sending(lane, count):
            while (left := goal - self.sent) > 0:
                before, frames = self.sent, min(left, _CALL)
                done = self._call(lane, frames)
                if done and self.traffic.rate is None and self.sent != before + frames:
                    raise OversprayError(f"the wire sent {self.sent - before} of {frames} frames")

    @contextmanager
    def running(self) -> Iterator[list[int]]:
        """Frames go out until the block ends, from a thread for each lane: the kernel's ids of them."""
        ready, stop = threading.Barrier(len(self.lanes) + 1, timeout=_START_S), threading.Event()
        threads = [
            threading.Thread(target=self._run, args=(lane, ready, stop), name="wire", daemon=True)
            for lane in self.lanes
        ]
        self.error = None
        for thread in threads:
            thread.start()
        try:
            with suppress(threading.BrokenBarrierError):
                ready.wait()
            yield [thread.native_id or 0 for thread in threads]
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        if self.error:
            raise self.error

    def _run(self, lane: Lane, ready: threading.Barrier, stop: threading.Event) -> None:
        try:
            with self._sending(lane, _ENDLESS):
                ready.wait()
                while not stop.is_set():
                    self._call(lane, _CALL)
        except BaseException as error:  # a thread's exception would be lost, and a reader wait for ever
            self.error = self.error or error
            ready.abort()

    def send_windowed(self, count: int, accounted: Callable[[], int], window: int = 64) -> None:
        """Exactly ``count`` frames, never more than ``window`` of them on their way.

        The next burst goes when ``accounted()`` says that the last one has arrived, so that no queue
        can overflow, however late a busy core serves it.
        """
        start, base = self.sent, accounted()
        while (done := self.sent - start) < count:
            self.send(min(window, count - done))
            wait_for(
                lambda: accounted() - base >= self.sent - start,
                lambda: f"{self.sent - start} frames to arrive: {accounted() - base} have",
            )

    @contextmanager
    def _sending(self, lane: Lane, frames: int) -> Iterator[None]:
        """In the wire's namespace, for that is where frames seem to come from: never the machine's `lo`."""
        # What was not sent between two runs is no debt.
        self._set(lane, release=0, batch=0, gap=0, left=frames)
        with netns.entered(self.lab.wire_ns), on_core(lane.core):
            yield

    def _call(self, lane: Lane, frames: int) -> bool:
        """One live run for at most so many frames; False where a signal ended it early."""
        self._set(lane, place=0)  # a call begins a batch, wherever the last one ended
        turns = frames if self.traffic.rate is None else _CALL
        batch = min(self.traffic.batch, turns)
        return bpf.run_live(self._program, self.frame.data, turns, batch)

    def _set(self, lane: Lane, **fields: int) -> None:
        table = self._module.map("wire_lanes")
        now = table.get(_LANE, lane.core)
        for name, value in fields.items():
            now[name] = value
        table.put(lane.core, now.tobytes())


def sizes_of(frame: Frame) -> dict[str, str | int]:
    """What wire.bpf.c is compiled with."""
    sizes: dict[str, str | int] = {"HEADER_BYTES": frame.header_bytes, "INNER": frame.inner}
    return {**sizes, "IP_VERSION": frame.version, "CORES": cores.possible()}


def put_lanes(module: Module, all_lanes: Sequence[Lane]) -> None:
    """Write them into the program's maps, to be sent from their first turns on."""
    firsts = dict.fromkeys(_TABLES, 0)
    for lane in all_lanes:
        row = np.zeros((), _LANE)
        for name, one in _TABLES.items():
            part, first = getattr(lane, name), firsts[name]
            if len(part):
                module.map(f"wire_{name}").mapped(part.dtype, writable=True)[first : first + len(part)] = part
            row[f"first_{one}"], row[name] = first, len(part)
            firsts[name] += len(part)
        module.map("wire_lanes").put(lane.core, row.tobytes())


def config_of(frame: Frame, traffic: Traffic, containers: int = 0, port_id: int = 0) -> bytes:
    """``struct wire_config``; ``port_id`` of the program's map wire_port."""
    config = np.zeros((), header("wire.h").struct("wire_config"))
    words = frame.data[: frame.header_bytes].ljust(config["header"].nbytes, b"\0")
    config["header"] = np.frombuffer(words, "<u8")
    config["sum"], config["outer_sum"] = frame.sum, frame.outer_sum
    config["first_port"], config["outer_port"] = FIRST_PORT, OUTER_PORT
    config["run"], config["batch"], config["containers"] = traffic.run, traffic.batch, containers
    config["port_id"] = port_id
    return config.tobytes()


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """The calling thread runs on that core alone until the block ends."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
