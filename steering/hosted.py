"""A policy in user space: the same header, compiled by the host's compiler, called from Python.

For tests and simulations, one decision at a time or whole traces; see ``xdp/host/host.c`` for the C
side. State starts zeroed, as in the kernel.
"""

import ctypes
import os
import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steering.compile import CompileError
from steering.errors import OversprayError
from steering.faults import Fault, line_of
from steering.layout import header
from steering.policy import Policy
from xdp import INCLUDE, SOURCES

STEP: np.dtype[np.void] = header("check.h", "policy.h").struct("step")
"""A packet, and the counters of one worker that are set before it is decided on."""
WORKERS: np.dtype[np.void] = header("policy.h").struct("workers")
FAULT = header("check.h", "policy.h").constants["STEP_FAULT"]
"""In place of a slot: the policy did what the contract forbids."""

_FLOWS = header("maps.h").constants["MAX_FLOWS"]
_FLOW_BYTES = header("policy.h").constants["FLOW_STATE_BYTES"]
_SOURCE = SOURCES / "host" / "host.c"
_FLAGS = (
    *("-std=gnu11", "-O2", "-fPIC", "-shared", "-Wl,-Bsymbolic", "-Wl,-z,defs"),
    # As the kernel side is compiled: headers are read as words of other types.
    "-fno-strict-aliasing",
    "-fsanitize=integer-divide-by-zero,shift-exponent,bounds-strict",
    "-Werror=implicit-function-declaration",
)
_ERROR = re.compile(
    r"^(?P<file>[^:\n]+):(?P<line>\d+):(?:\d+:)? (?:fatal )?error: (?P<what>.*)$", re.M
)
_MISSING = {
    "'policy_slot'": "policy_slot(…), the decision",
    "'struct policy_flow'": "struct policy_flow, what it remembers of a flow",
    "'struct policy_core'": "struct policy_core, what it remembers on a core",
}

Slots = NDArray[np.uint32]
Bytes = NDArray[np.uint8]


class PolicyFault(OversprayError):
    """The policy did what its contract forbids, at ``fault``, when it decided on step ``step``."""

    def __init__(self, fault: Fault, step: int) -> None:
        self.fault = fault
        self.step = step
        super().__init__(f"{fault} (packet {step} of the trace): the contract forbids it")


@dataclass(frozen=True)
class Queued:
    """What became of packets behind the decisions: ``place[i]`` is the how-manyeth packet i came
    out (from 1), or 0 if it was lost or its slot refused."""

    slots: Slots
    place: NDArray[np.uint64]


class _Place(ctypes.Structure):
    _fields_ = (("what", ctypes.c_char_p), ("file", ctypes.c_char_p), ("line", ctypes.c_uint64))


class _Queues(ctypes.Structure):
    _fields_ = (
        ("packets", ctypes.c_uint64),
        ("room", ctypes.c_uint64),
        *((name, ctypes.c_void_p) for name in ("drains", "line", "head", "tail")),
        *((name, ctypes.c_void_p) for name in ("under_way", "place")),
        ("out", ctypes.c_uint64),
    )


def idle_workers(count: int) -> NDArray[np.void]:
    """So many workers, all counters 0: struct workers, shape ()."""
    workers = np.zeros((), WORKERS)
    workers["count"] = count
    return workers


class Hosted:
    """One policy, compiled for this host and loaded. The object is kept in the user's cache."""

    def __init__(self, policy: Policy) -> None:
        """Compile, unless the cache has it.

        Raises:
            CompileError: ``found`` has every error that the compiler named.
            OversprayError: there is no compiler.
        """
        self.policy = policy
        self._library = ctypes.CDLL(str(shared_object(policy, _SOURCE)))
        pointer, number = ctypes.c_void_p, ctypes.c_uint64
        self.decide: Any = self._library.decide
        """``decide(packet, knobs, flow, core, workers)``, addresses all, returns the slot: a
        ctypes function, which numba's compiled code can call or be given."""
        self.decide.argtypes, self.decide.restype = [pointer] * 5, ctypes.c_uint32
        self._library.run.argtypes = [pointer, number, *[pointer] * 5]
        self._library.run_queues.argtypes = [*[pointer] * 7]
        self._library.run.restype = self._library.run_queues.restype = number
        self._library.take_fault.restype = _Place

    def flow_states(self) -> Bytes:
        """What it remembers of the flows, zeroed: one row for each index."""
        return np.zeros((_FLOWS, _FLOW_BYTES), np.uint8)

    def core_state(self) -> Bytes:
        """What it remembers on a core, zeroed."""
        size = ctypes.c_uint32.in_dll(self._library, "core_state_bytes").value
        return np.zeros(-(-size // 8), np.uint64).view(np.uint8)

    def knobs(self, values: Mapping[str, int]) -> Bytes:
        """struct knobs; what is not named has its default."""
        knobs = self.policy.knobs
        numbers = [values.get(name, knob.default) for name, knob in knobs.items()] or [0]
        return np.frombuffer(struct.pack(f"={len(numbers)}I", *numbers), np.uint8)

    def slot(
        self,
        packet: NDArray[np.void],
        knobs: Mapping[str, int],
        flow: Bytes,
        core: Bytes,
        workers: NDArray[np.void],
    ) -> int:
        """The slot of one packet (struct packet); ``flow`` is one row of :meth:`flow_states`.

        Raises:
            PolicyFault: see there.
        """
        args = (packet, self.knobs(knobs), flow, core, workers)
        found = int(self.decide(*(each.ctypes.data for each in args)))
        if found == FAULT:
            self._raise_fault(0)
        return found

    def run(
        self,
        steps: NDArray[np.void],
        knobs: Mapping[str, int],
        workers: NDArray[np.void],
        flows: Bytes | None = None,
        core: Bytes | None = None,
    ) -> Slots:
        """The slots of a trace (:data:`STEP`, 1-d). ``workers`` and the states are changed; states
        that are not given start zeroed.

        Raises:
            PolicyFault: see there.
        """
        steps = np.ascontiguousarray(steps)
        slots = np.zeros(len(steps), np.uint32)
        flows = self.flow_states() if flows is None else flows
        core = self.core_state() if core is None else core
        args = (self.knobs(knobs), flows, core, workers, slots)
        addresses = [each.ctypes.data for each in args]
        done = self._library.run(steps.ctypes.data, len(steps), *addresses)
        if done < len(steps):
            self._raise_fault(done)
        return slots

    def run_queues(
        self,
        steps: NDArray[np.void],
        drains: NDArray[np.uint16],
        knobs: Mapping[str, int],
        count: int,
        room: int = 2048,
    ) -> Queued:
        """The same with queues behind the decisions: backlogs are what comes of them.

        ``drains[i, s]``: how many packets may leave the queue of slot s before packet i;
        ``room``: of a worker's queue. ``packet->clear`` is true where the step lets it be.
        """
        packets = len(steps)
        if drains.shape != (packets, count + 1):
            raise ValueError(f"drains are {drains.shape}, not {(packets, count + 1)}")
        steps, drains = np.ascontiguousarray(steps), np.ascontiguousarray(drains)
        slots, place = np.zeros(packets, np.uint32), np.zeros(packets, np.uint64)
        line = np.zeros((count + 1, max(1, packets)), np.uint32)
        head, tail = np.zeros(count + 1, np.uint64), np.zeros(count + 1, np.uint64)
        under_way = np.zeros(_FLOWS, np.uint32)
        arrays = (drains, line, head, tail, under_way, place)
        queues = _Queues(packets, room, *(each.ctypes.data for each in arrays), 0)
        args = (self.knobs(knobs), self.flow_states(), self.core_state(), idle_workers(count))
        addresses = [each.ctypes.data for each in (*args, slots)]
        done = self._library.run_queues(steps.ctypes.data, ctypes.addressof(queues), *addresses)
        if done < packets:
            self._raise_fault(done)
        return Queued(slots, place)

    def _raise_fault(self, step: int) -> None:
        """Unless a policy has returned the number that stands for a fault of its own accord."""
        place = self._library.take_fault()
        if place.what:
            file, what = place.file.decode(errors="replace"), place.what.decode()
            raise PolicyFault(Fault(file, int(place.line), what), step)


def shared_object(policy: Policy, source: Path, *flags: str) -> Path:
    """``source`` compiled with the policy for this host, or from the cache if that has it.

    Raises:
        CompileError: ``found`` has every error that the compiler named.
        OversprayError: there is no compiler.
    """
    cc = shutil.which("gcc")
    if cc is None:
        raise OversprayError(
            f"policy '{policy.name}' in user space: no gcc: type 'apt install gcc'"
        )
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "overspray/policies"
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        Path(folder, "knobs.h").write_text(policy.knobs_header())
        given = (*flags, f'-DPOLICY="{policy.header}"', f"-I{INCLUDE}", f"-I{folder}")
        command = [cc, *_FLAGS, *given]
        text = _run([*command, "-E", "-P", str(source)], policy)
        key = "\0".join([*_FLAGS, str(policy.folder), text])
        target = cache / f"{sha256(key.encode()).hexdigest()[:24]}.so"
        if not target.exists():
            fresh = Path(folder, "policy.so")
            _run([*command, str(source), "-o", str(fresh)], policy)
            fresh.replace(target)
    return target


def _run(command: Sequence[str], policy: Policy) -> str:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, "LC_ALL": "C"},
        check=False,
    )
    if done.returncode:
        found = _faults(done.stderr, policy)
        raise CompileError(f"compile '{policy.name}' for this host: {found[0]}", found)
    return done.stdout


def _faults(log: str, policy: Policy) -> list[Fault]:
    """All errors; what is missing in the policy is said of the policy, not of its user."""
    found = []
    for error in _ERROR.finditer(log):
        file, line, what = error["file"], int(error["line"]), error["what"]
        if file.endswith(".c"):  # ours: all that a policy has is headers
            named = [text for name, text in _MISSING.items() if name in what]
            what = f"{named[0]} is missing" if named else f"{what} (at {Path(file).name}:{line})"
            file, line = str(policy.header), 1
        elif Path(file).name == "knobs.h":
            python = policy.folder / "policy.py"
            file, line = str(python), line_of(python, "knobs")
        found.append(Fault(file, line, what))
    said = (log.strip().splitlines() or ["the compiler gave no reason"])[-1]
    return list(dict.fromkeys(found)) or [Fault(str(policy.header), 0, said)]
