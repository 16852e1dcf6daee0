"""A busy neighbour: a thread that eats cache or memory bandwidth, and tells how it fared.

Without hardware counters this is how contention is seen: by what the receive path does to a pointer
chase (latency of memory) and to a stream (its bandwidth), and they to the receive path.
"""

import threading
import time
from collections.abc import Mapping

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from bench.observer import Observer
from bench.sinks import pinned
from steering.errors import unknown
from steering.policy import Knob, read_knobs
from steering.spec import Spec

NONE = Spec("none")
_KNOBS = {
    "core": Knob(1, 0, 4095, "core", "where it runs"),
    "kib": Knob(65536, 4, 1 << 20, "KiB", "of memory that it goes over"),
}
NEIGHBOURS: Mapping[str, Mapping[str, Knob]] = {
    "none": {},
    "spin": {"core": _KNOBS["core"]},
    "chase": _KNOBS,
    "stream": _KNOBS,
}
"""Kinds and their knobs. ``spin`` wants only the core; of the others' loads, in ``chase`` each
waits for the one before, in ``stream`` none does."""

# A call that the compiler can't see through: else it would look only once whether to stop.
_getppid = types.ExternalFunction("getppid", types.int32())
_LINE, _WORD = 64, 8
_STEPS = 4096
"""Steps of the chase between two looks at whether to stop."""

I64 = NDArray[np.int64]


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _spin(memory: I64, shared: I64) -> None:
    """Do nothing but look whether to stop; shared: stop, looks."""
    while shared[0] == 0 and _getppid() >= 0:
        shared[1] += 1


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _chase(memory: I64, shared: I64) -> None:
    """Follow the chain; shared: stop, steps done, where it is."""
    at = shared[2]
    while shared[0] == 0 and _getppid() >= 0:
        for _ in range(_STEPS):
            at = memory[at]
        shared[1] += _STEPS
        shared[2] = at


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _stream(memory: I64, shared: I64) -> None:
    """Read all of it, again and again; shared: stop, words read, a sum that must not be dropped."""
    part = 1 << 16
    while shared[0] == 0 and _getppid() >= 0:
        for start in range(0, memory.size, part):
            end = min(start + part, memory.size)
            shared[2] += memory[start:end].sum()
            shared[1] += end - start
            if shared[0] or _getppid() < 0:
                break


def check(spec: Spec) -> dict[str, int]:
    """The knobs' values; BadInput for a neighbour or knob that does not exist."""
    if spec.path is not None or spec.name not in NEIGHBOURS:
        raise unknown("neighbour", spec.name, NEIGHBOURS)
    return read_knobs(f"neighbour '{spec.name}'", NEIGHBOURS[spec.name], spec.args)


class Neighbour:
    """One of them, or none. A context manager: it starts when asked to and runs until the end."""

    def __init__(self, spec: Spec = NONE) -> None:
        self._knobs = check(spec)
        self._kind = spec.name
        self._shared = np.zeros(3, np.int64)
        self._memory = np.zeros(0, np.int64)
        self._thread: threading.Thread | None = None
        self._since, self._before = 0.0, 0
        self._tid = 0
        if spec.name != "none":
            self._memory = _chain(self._knobs.get("kib", 4) * 1024)
            self._shared[0] = 1
            self._loop()(self._memory, self._shared)  # compiled before it counts

    def start(self, observer: Observer | None = None) -> None:
        """Run, if it does not yet, and count from now on; its time is charged to ``neighbour``."""
        if self._kind == "none":
            return
        if self._thread is None:
            self._shared[0] = 0
            ready = threading.Event()
            self._thread = pinned(self._knobs["core"], "neighbour", lambda: self._run(ready))
            ready.wait()
        if observer:
            observer.watch([self._tid], "neighbour")
        self._since, self._before = time.monotonic(), int(self._shared[1])

    def told(self) -> dict[str, float]:
        """``chase_ns`` for a step, or ``stream_gbs``: GB read a second, since it was started."""
        if self._thread is None:
            return {}
        done = int(self._shared[1]) - self._before
        seconds = time.monotonic() - self._since
        if self._kind == "spin":
            return {"spin_rounds": float(done)}
        if self._kind == "chase":
            return {"chase_ns": seconds * 1e9 / max(1, done)}
        return {"stream_gbs": done * _WORD / seconds / 1e9}

    def stop(self) -> None:
        """Stop; may be started again."""
        self._shared[0] = 1
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _loop(self) -> "numba.core.dispatcher.Dispatcher":
        return {"spin": _spin, "chase": _chase, "stream": _stream}[self._kind]

    def _run(self, ready: threading.Event) -> None:
        self._tid = threading.get_native_id()
        ready.set()
        self._loop()(self._memory, self._shared)


def _chain(size: int) -> I64:
    """Memory in which each cache line names another one: one cycle through all, in random order."""
    words, stride = size // _WORD, _LINE // _WORD
    memory = np.zeros(words, np.int64)
    order = np.random.default_rng(1).permutation(words // stride) * stride
    memory[order] = np.roll(order, -1)
    return memory
