"""A policy in the kernel, on traces: what prototype/twin.py does, by test runs of xdp/decide.bpf.c."""

import errno
from collections.abc import Mapping

import numpy as np
from numpy.typing import DTypeLike, NDArray

from prototype.trace import KERNEL, Trace
from prototype.twin import Replay, idle_workers, packed
from steering import bpf, cores
from steering.bpf import BpfError, Kind
from steering.closing import Closing
from steering.compile import Module
from steering.layout import header
from steering.policy import Policy

_POLICY, _TRACE = header("policy.h"), header("trace.h")
_FRAME = bytes(64)
"""A test run wants one; nothing looks at it."""
_WORD = np.dtype("<u8")


class Decider(Closing):
    """The NIC stage with a policy, compiled and loaded, and that policy on traces. A context manager.

    Raises:
        CompileError: it does not compile, or the verifier refuses it.
    """

    def __init__(self, policy: Policy) -> None:
        self._module = Module(
            "steer.bpf.c", "decide.bpf.c", defines={**policy.defines(), "CORES": cores.possible()}
        )
        try:
            self.instructions = bpf.verified(self._module.load("steer", Kind.XDP))
            """That the verifier looked at, for the whole NIC stage; None before Linux 5.16."""
            self._program = self._module.load("decide", Kind.TC)
            self._packets = self._mapped("packets", _POLICY.struct("packet"))
            self._steps = self._mapped("steps", _TRACE.struct("step"))
            self._slots, self._next = self._mapped("slots", _WORD), self._mapped("next", _WORD)
            self._flows, self._cores = self._mapped("flows", _WORD), self._mapped("cores", _WORD)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Unload. Closing twice is harmless."""
        self._module.close()

    def run(self, trace: Trace, knobs: Mapping[str, int]) -> Replay:
        """Decide on a trace of at most `KERNEL` packets, from zeroed states on."""
        count = len(trace)
        if count > KERNEL:
            raise ValueError(f"a trace of {count} packets: the kernel's half takes {KERNEL}")
        self._packets[:count], self._steps[:count] = trace.packets, trace.steps
        for state in (self._slots, self._next, self._flows, self._cores):
            state[:] = 0
        self._module.map("knobs").put(0, packed(knobs).tobytes())
        workers = self._module.map("workers")
        workers.put(0, idle_workers(trace.workers).tobytes())
        while (done := int(self._next[0])) < count:
            self._on(count - done)
            if self._next[0] == done:
                raise RuntimeError("decide.bpf.c makes no step")
        return Replay(
            self._slots[:count].astype(np.uint32),
            self._states("flows", self._flows),
            self._states("cores", self._cores),
            workers.get(_POLICY.struct("workers")),
        )

    def _on(self, steps: int) -> None:
        """Go on; a signal may end it early."""
        try:
            bpf.timed_run(self._program, _FRAME, steps)
        except BpfError as error:
            if error.errno != errno.EINTR:
                raise

    def _mapped(self, name: str, dtype: DTypeLike) -> NDArray[np.void]:
        return self._module.map(f"decide_{name}").mapped(dtype, writable=True)

    def _states(self, name: str, mapped: NDArray[np.void]) -> bytes:
        """Without what the kernel pads each element by."""
        size = self._module.map(f"decide_{name}").size
        padded = -(-size // 8) * 8
        return mapped.view(np.uint8).reshape(-1, padded)[:, :size].tobytes()
