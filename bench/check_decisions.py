"""What a policy decides on seeded traces: a million packets in user space, some in the kernel."""

import faulthandler
import resource
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bench.check_order import Setting, broken_promise, settings_of
from steering import bpf, trace
from steering.closing import Closing
from steering.compile import Module
from steering.hosted import FAULT, Hosted, PolicyFault, Slots, idle_workers
from steering.policy import Policy
from steering.registry import SHELF

HOSTED_PACKETS = 1_000_000
KERNEL_PACKETS = 10_000
SECONDS = 60
"""A policy that has not decided a million times by then never will."""

_T = TypeVar("_T")
_SEED = 20_260_101
_COUNTS = (3, 0, 1, 2, 8, 64)
_TIMED = 4096
_ROUNDS = 50


@dataclass(frozen=True)
class Segment:
    """A part of the whole trace, with state as new."""

    mix: trace.Mix
    setting: Setting
    packets: int
    in_kernel: int
    """So many of them, from the first, are decided on in the kernel as well."""
    seed: int

    def steps(self) -> NDArray[np.void]:
        """The packets, with all that a policy may know of them."""
        return trace.trace(self.mix, self.packets, self.setting.workers, self.seed)

    def __str__(self) -> str:
        return f"trace '{self.mix}', {self.setting}"


def segments(policy: Policy) -> list[Segment]:
    """All mixes with all numbers of workers, at changing knobs."""
    rng = np.random.default_rng(_SEED)
    places = [(mix, count) for mix in trace.Mix for count in _COUNTS]
    found = []
    for number, (mix, count) in enumerate(places):
        knobs = settings_of(policy, rng)[(number + number // len(_COUNTS)) % 4]
        sizes = [
            (number + 1) * whole // len(places) - number * whole // len(places)
            for whole in (HOSTED_PACKETS, KERNEL_PACKETS)
        ]
        found.append(Segment(mix, Setting(count, knobs), sizes[0], sizes[1], _SEED + number))
    return found


@dataclass(frozen=True)
class Decided:
    """What was seen in user space. ``slots``: of those packets that the kernel gets too."""

    wrong: list[str]
    fault: PolicyFault | None
    slots: list[Slots]
    ns: float

    def __reduce__(self) -> Any:
        """An exception of several arguments does not travel between processes by itself."""
        fault = self.fault and (self.fault.fault, self.fault.step)
        return _decided, (self.wrong, fault, self.slots, self.ns)


def _decided(wrong: list[str], fault: Any, slots: list[Slots], ns: float) -> Decided:
    return Decided(wrong, fault and PolicyFault(*fault), slots, ns)


def decided(hosted: Hosted) -> Decided:
    """All that can be seen of a policy's decisions without the kernel."""
    wrong: list[str] = []
    slots: list[Slots] = []
    try:
        for segment in segments(hosted.policy):
            found, said = _segment(hosted, segment)
            slots.append(found[: segment.in_kernel])
            if said:
                wrong.append(f"{segment}: {said}")
                break
        else:
            broken = broken_promise(hosted, _SEED)
            wrong += [broken] if broken else []
        return Decided(wrong, None, slots, 0.0 if wrong else _time(hosted))
    except PolicyFault as fault:
        return Decided(wrong, fault, [], 0.0)


def _segment(hosted: Hosted, segment: Segment) -> tuple[Slots, str]:
    setting, needs = segment.setting, hosted.policy.needs

    def slots_of(steps: NDArray[np.void]) -> Slots:
        return hosted.run(steps, setting.knobs, idle_workers(setting.workers))

    whole = segment.steps()
    steps = trace.known(whole, needs)
    found = slots_of(steps)
    beyond = np.flatnonzero(found > setting.workers)
    if len(beyond):
        return found, f"packet {beyond[0]} gets slot {found[beyond[0]]}, which does not exist"
    again = np.flatnonzero(slots_of(steps) != found)
    if len(again):
        return found, f"packet {again[0]} gets another slot when the same trace is run again"
    if (slots_of(whole) != found).any():
        undeclared = sorted(trace.ALL_NEEDS - needs)
        told = ((need, trace.known(whole, needs | {need})) for need in undeclared)
        used = [need for need, steps in told if (slots_of(steps) != found).any()]
        named = " and ".join(f"Need.{need.name}" for need in used or undeclared)
        return found, f"it decides by what it is not told: add {named} to needs in policy.py"
    return found, ""


def _time(hosted: Hosted) -> float:
    """ns a decision, what it takes to hand it in included; the median of many rounds."""
    steps = trace.known(trace.trace(trace.Mix.HEAVY, _TIMED, 3, _SEED), hosted.policy.needs)
    flows, core, times = hosted.flow_states(), hosted.core_state(), []
    for _ in range(_ROUNDS):
        begin = time.thread_time_ns()
        hosted.run(steps, {}, idle_workers(3), flows, core)
        times.append((time.thread_time_ns() - begin) / _TIMED)
    return float(np.median(times))


def apart(action: Callable[[], _T], seconds: float) -> _T:
    """What an action returns, in another process.

    Raises:
        TimeoutError: it took longer, and was ended.
        ChildProcessError: it died; says how.
    """
    context = get_context("fork")
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(writer, action))
    process.start()
    writer.close()
    try:
        if not reader.poll(seconds):
            raise TimeoutError
        return reader.recv()  # type: ignore[no-any-return]
    except EOFError:
        process.join()
        raise ChildProcessError(f"signal {-(process.exitcode or 0)}") from None
    finally:
        process.kill()
        process.join()
        reader.close()


def _send(writer: Connection, action: Callable[[], object]) -> None:
    # How it died is told in one line; a dump of this process is of no use to a policy's author.
    faulthandler.disable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    writer.send(action())


class InKernel(Closing):
    """A policy alone in the kernel, its packets and state injected. A context manager."""

    def __init__(self, policy: Policy) -> None:
        """Compile and load.

        Raises:
            CompileError: it did not compile, or the verifier refused it.
        """
        self._policy = policy
        self._module = Module(
            "check.bpf.c",
            defines={"POLICY": f'"{policy.header}"'},
            include=policy.knobs_header(),
            strange=policy.folder.parent != SHELF,
        )
        try:
            self._program = self._module.load("check", bpf.PROG_TYPE_XDP)
        except BaseException:
            self._module.close()
            raise

    def slots(self, steps: NDArray[np.void], knobs: Mapping[str, int], workers: int) -> Slots:
        """The slot of each packet, with state as new."""
        values = [knobs[name] for name in self._policy.knobs] or [0]
        self._module.put("knobs", 0, struct.pack(f"={len(values)}I", *values))
        self._module.put("workers", 0, idle_workers(workers))
        self._forget("cores", [0])
        self._forget("flows", np.unique(steps["packet"]["flow"]).tolist())
        frames = steps.tobytes()
        size = steps.itemsize
        found = (
            bpf.prog_test_run(self._program, frames[at : at + size]).retval
            for at in range(0, len(frames), size)
        )
        return np.fromiter(found, np.uint32, len(steps))

    def _forget(self, table: str, keys: Sequence[int]) -> None:
        nothing = bytes(bpf.map_info(self._module.fd(table)).value_size)
        for key in keys:
            self._module.put(table, key, nothing)

    def close(self) -> None:
        """Let go of it."""
        self._module.close()


def difference(kernel: InKernel, policy: Policy, hosted: Sequence[Slots]) -> str:
    """The first packet on which the kernel decides otherwise than user space; empty: none."""
    for segment, expected in zip(segments(policy), hosted, strict=True):
        steps = trace.known(segment.steps()[: segment.in_kernel], policy.needs)
        found = kernel.slots(steps, segment.setting.knobs, segment.setting.workers)
        differ = np.flatnonzero(found != expected)
        if len(differ):
            at = differ[0]
            there = "no slot" if expected[at] == FAULT else f"slot {expected[at]}"
            return (
                f"{segment}: packet {at} gets {there} in user space, slot {found[at]} in the kernel"
            )
    return ""
