"""The wire: live frames that stand for the other machine and its NIC (BPF_F_TEST_XDP_LIVE_FRAMES).

The program puts frames on ``wire0`` from inside the kernel; the softirq of ``nic0`` runs in the calling
thread, on its core, as a NIC's would on the core of its interrupt.
"""

import os
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import numpy as np

from bench.frame import FIRST_PORT, OUTER_PORT, Frame, build
from bench.lab import Lab
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

    def begin(self, run: int) -> None:
        """Stamp frames with that run from now on, and number each flow's from 0."""
        self.traffic = replace(self.traffic, run=run)
        config = config_of(self.frame, self.traffic, len(self.lab.plan.containers), self._port_id)
        self._module.map("wire_config").put(0, config)
        self._set_state(flow=0, sequence=0)

    def counts(self) -> dict[str, int]:
        """All of enum wire_counter by name, summed over the cores."""
        counted = self._module.counts("wire_counters", "wire_counter")
        return {name: int(values.sum()) for name, values in counted.items()}

    @property
    def sent(self) -> int:
        """Frames handed to ``wire0`` so far: the only truth about what was offered."""
        return self.counts()["sent"]

    def send(self, count: int) -> None:
        """Exactly ``count`` frames, at the traffic's rate. One thread at a time may send."""
        goal = self.sent + count
        with self._sending():
            while (left := goal - self.sent) > 0:
                before, frames = self.sent, min(left, _CALL)
                done = self._call(frames)
                if done and self.traffic.rate is None and self.sent != before + frames:
                    raise OversprayError(f"the wire sent {self.sent - before} of {frames} frames")

    @contextmanager
    def running(self) -> Iterator[int]:
        """Frames go out, from a thread of their own, until the block ends: its id, as the kernel knows it."""
        begun, stop = threading.Event(), threading.Event()
        thread = threading.Thread(target=self._run, args=(begun, stop), name="wire", daemon=True)
        self.error = None
        thread.start()
        try:
            wait_for(begun.is_set, "the wire to begin")
            yield thread.native_id or 0
        finally:
            stop.set()
            thread.join()
        if self.error:
            raise self.error

    def _run(self, begun: threading.Event, stop: threading.Event) -> None:
        try:
            with self._sending():
                begun.set()
                while not stop.is_set():
                    self._call(_CALL)
        except BaseException as error:  # a thread's exception would be lost, and a reader wait for ever
            self.error = error
            begun.set()

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
    def _sending(self) -> Iterator[None]:
        """In the wire's namespace, for that is where frames seem to come from: never the machine's `lo`."""
        self._set_state(due=0)  # what was not sent between two runs is no debt
        with netns.entered(self.lab.wire_ns), on_core(self.core):
            yield

    def _call(self, frames: int) -> bool:
        """One live run for at most so many frames; False where a signal ended it early."""
        self._set_state(turn=0, left=frames)  # a call begins a batch, wherever the last one ended
        turns = frames if self.traffic.rate is None else _CALL
        batch = min(self.traffic.batch, turns)
        return bpf.run_live(self._program, self.frame.data, turns, batch)

    def _set_state(self, **fields: int) -> None:
        state = self._module.map("wire_state")
        now = state.get(header("wire.h").struct("wire_state"))
        for name, value in fields.items():
            now[name] = value
        state.put(0, now.tobytes())


def sizes_of(frame: Frame) -> dict[str, str | int]:
    """What wire.bpf.c is compiled with."""
    return {"HEADER_BYTES": frame.header_bytes, "INNER": frame.inner, "IP_VERSION": frame.version}


def config_of(frame: Frame, traffic: Traffic, containers: int = 0, port_id: int = 0) -> bytes:
    """``struct wire_config``; ``port_id`` of the program's map wire_port."""
    config = np.zeros((), header("wire.h").struct("wire_config"))
    words = frame.data[: frame.header_bytes].ljust(config["header"].nbytes, b"\0")
    config["header"] = np.frombuffer(words, "<u8")
    config["sum"], config["outer_sum"] = frame.sum, frame.outer_sum
    config["first_port"], config["outer_port"] = FIRST_PORT, OUTER_PORT
    config["flows"], config["run"], config["batch"] = traffic.flows, traffic.run, traffic.batch
    config["interval"], config["containers"] = traffic.interval, containers
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
