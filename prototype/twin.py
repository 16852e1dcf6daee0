"""The twin of a policy: its ``policy.h`` compiled by the host's compiler, and called from Python.

The same text as in steer.bpf.c, so there is no second implementation. What was compiled is kept where
compiled BPF is (`steering.code`), by all that decides what it compiles to.
"""

import ctypes
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prototype.problem import Faulty, Problem
from prototype.trace import CORES, FLOWS, Trace
from steering import code
from steering.errors import OversprayError
from steering.layout import header
from steering.policy import Policy
from xdp import INCLUDE, SOURCES

_FLAGS = ("-std=gnu11", "-O2", "-fPIC", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror")
_CHECKS = "-fsanitize=integer-divide-by-zero,shift,bounds"
"""What is one thing in BPF and another, or a trap, on the host."""
_ERROR = re.compile(r"^(?P<file>[^\s:][^:]*):(?P<line>\d+):\d+: (?:fatal )?error: (?P<what>.*)$", re.M)
_LONGEST_S = 20
"""Of this process's own time, for a batch; one of a million takes a tenth of a second."""
_WORKERS, _FAULT = header("policy.h").struct("workers"), header("trace.h").struct("twin_fault")


@dataclass(frozen=True, eq=False)
class Replay:
    """What a policy did with a trace, and what it remembers after it."""

    slots: NDArray[np.uint32]
    flows: bytes
    """``struct policy_flow`` of each flow's state."""
    cores: bytes
    """``struct policy_core`` of each NIC core."""
    workers: NDArray[np.void]
    """``struct workers``: what was sent, lost and done."""
    left: NDArray[np.uint32] | None = None
    """As which one each packet left its slot, from 1 on; 0: it was lost, or its slot refused. The twin's."""


class Twin:
    """A policy in user space. ``checked``: a division by zero, a shift too far or an index out of bounds is
    found, with its line, which costs a third of the speed.

    Raises:
        Faulty: it does not compile; all that the compiler said.
        OversprayError: there is no compiler.
    """

    def __init__(self, policy: Policy, *, checked: bool = False) -> None:
        self.policy = policy
        with _built(policy, checked) as path:
            # Python's lock is held meanwhile: see twin.c.
            self._library = ctypes.PyDLL(str(path))
        self.slot = ctypes.CFUNCTYPE(ctypes.c_uint32, *[ctypes.c_void_p] * 5)(("twin_slot", self._library))
        """``policy_slot`` as a plain C function of five addresses, which numba can call too."""
        self.flow_bytes = int(ctypes.c_uint32.in_dll(self._library, "twin_flow_bytes").value)
        self.core_bytes = int(ctypes.c_uint32.in_dll(self._library, "twin_core_bytes").value)

    def run(self, trace: Trace, knobs: Mapping[str, int]) -> Replay:
        """Decide on a whole trace, from zeroed states on.

        Raises:
            Faulty: it divided by zero, or the like, or did not come to an end.
        """
        flows, cores = self._states()
        workers = idle_workers(trace.workers)
        slots, left, scratch = (np.zeros(len(trace), np.uint32) for _ in range(3))
        numbers = np.zeros(len(trace), np.uint64)
        values = packed(knobs)
        fault = np.zeros((), _FAULT)
        failed = self._library.twin_run(
            *(_place(trace.packets), _place(trace.steps), ctypes.c_uint32(len(trace)), _place(values)),
            *(_place(flows), _place(cores), _place(workers), _place(slots), _place(left)),
            *(_place(scratch), _place(numbers), ctypes.c_uint32(_LONGEST_S), _place(fault)),
        )
        if failed:
            raise Faulty([_problem(self.policy, fault, trace, knobs)])
        return Replay(slots, flows.tobytes(), cores.tobytes(), workers, left)

    def decision_ns(self, trace: Trace, knobs: Mapping[str, int], rounds: int = 5) -> float:
        """ns a decision, of the fastest round: over that trace's packets, with empty queues, in a loop."""
        flows, cores = self._states()
        workers, values = idle_workers(trace.workers), packed(knobs)
        spent = []
        for _ in range(rounds):
            begun = time.perf_counter_ns()
            self._library.twin_decide(
                *(_place(trace.packets), ctypes.c_uint32(len(trace)), _place(values)),
                *(_place(flows), _place(cores), _place(workers)),
            )
            spent.append(time.perf_counter_ns() - begun)
        return min(spent) / max(1, len(trace))

    def _states(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        return np.zeros(FLOWS * self.flow_bytes, np.uint8), np.zeros(CORES * self.core_bytes, np.uint8)


def idle_workers(count: int) -> NDArray[np.void]:
    """``struct workers`` with that many, to whom nothing was sent."""
    workers = np.zeros((), _WORKERS)
    workers["count"] = count
    return workers


def packed(knobs: Mapping[str, int]) -> NDArray[np.uint32]:
    """``struct knobs``; of a policy that has none it has one member."""
    return np.array([*knobs.values()] or [0], np.uint32)


def compiler() -> str:
    """The host's C compiler; OversprayError where there is none."""
    found = shutil.which("cc")
    if found is None:
        raise OversprayError("no C compiler (cc) here: type 'apt-get install gcc libc6-dev'")
    return found


@contextmanager
def _built(policy: Policy, checked: bool) -> Iterator[Path]:
    """The shared object; one that can't be kept is gone when it has been opened."""
    command = [compiler(), *_FLAGS, *([_CHECKS] if checked else []), "-DOVERSPRAY_HOST", f"-I{INCLUDE}"]
    command += [f"-D{key}={value}" for key, value in policy.defines().items()]
    text = (SOURCES / "twin.c").read_text()
    version = subprocess.run([command[0], "--version"], capture_output=True, text=True).stdout
    included = f'#include "{policy.header}"\n'
    key = code.key_of(text + included, [INCLUDE], command, version)
    kept = code.FOLDER / f"twin-{key}.so"
    if key and os.access(kept, os.R_OK):
        with suppress(OSError):
            os.utime(kept)
        yield kept
        return
    with tempfile.TemporaryDirectory(prefix="overspray-") as folder:
        made = Path(folder) / "twin.so"
        _compile(policy, command, made)
        yield _kept(made, kept) if key else made


def _compile(policy: Policy, command: list[str], made: Path) -> None:
    """In two steps: linked with -fsanitize, it would want a library for what twin.c has itself."""
    plain = {**os.environ, "LC_ALL": "C"}
    part = made.with_suffix(".o")
    done = subprocess.run(
        [*command, "-c", str(SOURCES / "twin.c"), "-o", str(part)], capture_output=True, text=True, env=plain
    )
    if done.returncode == 0:
        done = subprocess.run(
            [command[0], "-shared", str(part), "-o", str(made)], capture_output=True, text=True, env=plain
        )
    if done.returncode == 0:
        return
    found = [
        Problem(place["what"], Path(place["file"]), int(place["line"]))
        for place in _ERROR.finditer(done.stderr)
    ]
    said = done.stderr.strip().splitlines() or [f"{command[0]} ended with {done.returncode}"]
    raise Faulty(found or [Problem(f"{command[0]}: {said[-1]}", policy.header)])


def _kept(made: Path, kept: Path) -> Path:
    """Where it is kept, if that can be done; else where it is."""
    try:
        kept.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        part = kept.with_name(f".{kept.name}.{os.getpid()}")
        shutil.copyfile(made, part)
        part.rename(kept)
    except OSError:
        return made
    code.forget_oldest("twin-*.so")
    return kept


def _problem(policy: Policy, fault: NDArray[np.void], trace: Trace, knobs: Mapping[str, int]) -> Problem:
    where = f"packet {fault['step']} of trace '{trace.name}'{with_knobs(knobs)}"
    if number := int(fault["signal"]):
        what = f"ended by {signal.Signals(number).name}"
        if number == signal.SIGVTALRM:
            what = f"no decision within {_LONGEST_S} s: a loop without an end?"
        return Problem(f"{what}: {where}", policy.header)
    kind, file = (ctypes.string_at(int(fault[name])).decode() for name in ("kind", "file"))
    return Problem(f"{kind}: {where}", Path(file), int(fault["line"]))


def with_knobs(knobs: Mapping[str, int]) -> str:
    """`` with cell=1, limit=0``; empty of none."""
    return f" with {', '.join(f'{name}={value}' for name, value in knobs.items())}" if knobs else ""


def _place(array: NDArray[Any]) -> ctypes.c_void_p:
    assert array.flags.c_contiguous
    return ctypes.c_void_p(array.ctypes.data)
