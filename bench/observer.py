"""What a run costs: the time of every core by kind, and how often it was interrupted (xdp/observe.bpf.c)."""

import errno
import struct
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from steering import bpf, cores
from steering.bpf import Kind
from steering.closing import Closing
from steering.compile import Module
from steering.layout import header
from steering.waiting import wait_for

# The exit first: a softirq whose entry is seen is then sure to be seen to end.
_EVENTS = ("softirq_exit", "softirq_entry", "sched_switch", "napi_poll", "xdp_cpumap_kthread")
_IPIS = ("call_function_single_entry", "call_function_entry", "reschedule_entry", "ipi_entry")
"""The first three where the core is an x86, the last one elsewhere."""
_OBSERVED = header("observe.h").struct("observed")
KINDS = [name.removeprefix("KIND_").lower() for name in header("observe.h").enum("observe_kind")][:-1]
"""What a core's time is spent on: ``idle``, ``softirq``, … (observe.h says what each is)."""


@dataclass(frozen=True)
class Reading:
    """Everything up to one moment, since the observer began."""

    ns: dict[int, dict[str, int]]
    """Time by core and kind, in ns."""
    since: dict[int, int]
    """That moment on each core, CLOCK_MONOTONIC ns: the interrupts that read are some µs apart."""
    events: dict[str, int]
    """enum observe_counter (counters.h) by name, over all cores; no ``ipis`` where no event tells them."""


@dataclass(frozen=True)
class Cost:
    """What happened between two readings."""

    seconds: float
    cores: dict[int, dict[str, float]]
    """Shares of the time by core and kind; those of one core add up to 1."""
    events: dict[str, int]

    @property
    def wire_share(self) -> float:
        """Share of its time that the wire's busiest core used for the wire's own threads."""
        return max((shares["wire"] for shares in self.cores.values()), default=0.0)

    def per_packet(self, packets: int) -> dict[str, float]:
        """Events for each of so many packets; nothing if there were none."""
        return {name: count / packets for name, count in self.events.items()} if packets else {}


def cost(before: Reading, after: Reading) -> Cost:
    """What happened from one reading of an observer to a later one."""
    elapsed = {core: after.since[core] - before.since[core] for core in after.since}
    shares = {
        core: {kind: (ns - before.ns[core][kind]) / elapsed[core] for kind, ns in kinds.items()}
        for core, kinds in after.ns.items()
    }
    events = {name: count - before.events[name] for name, count in after.events.items()}
    return Cost(sum(elapsed.values()) / len(elapsed) / 1e9, shares, events)


class Observer(Closing):
    """Observes the cores that are online now, and all that runs on them. A context manager.

    One thread at a time may read.
    """

    def __init__(self) -> None:
        self._cores = cores.online()
        space = Path("/proc/self/ns/pid").stat()
        with ExitStack() as stack:  # what was opened is closed if the rest fails
            defines: dict[str, str | int] = {"PID_DEVICE": space.st_dev, "PID_INODE": space.st_ino}
            self._module = stack.enter_context(Module("observe.bpf.c", defines=defines))
            begin = self._module.load("begin", Kind.RAW_TRACEPOINT)
            for core in self._cores:
                bpf.run_on_core(begin, core)
            for event in _EVENTS:
                stack.enter_context(bpf.Tracepoint(self._program(event), event))
            told = [self._attach_ipi(stack, event) for event in _IPIS]
            self._has_ipis = any(told)
            self._open = stack.pop_all()

    def close(self) -> None:
        """Stop observing. Closing twice is harmless."""
        self._open.close()

    @property
    def programs(self) -> dict[str, int]:
        """Descriptors of those that are attached, by the event that they see."""
        return {event: self._program(event) for event in (*_EVENTS, *(["ipi"] if self._has_ipis else []))}

    def watch(self, thread_id: int, kind: str = "wire") -> None:
        """Charge this thread (``threading.get_native_id``) to that kind, until :meth:`forget`.

        Before the reading that counts: a core charges when a softirq or another thread comes or goes, so
        what a running thread did since then, `other` until now, becomes that kind's as well.
        BpfError where OBSERVE_THREADS (observe.h) are watched already.
        """
        self._module.map("observe_watched").put(thread_id, struct.pack("=I", KINDS.index(kind)))

    def forget(self, thread_id: int) -> None:
        """Charge it to `other` again; its number may be another thread's some day."""
        self._module.map("observe_watched").delete(thread_id)

    def read(self) -> Reading:
        """The time of every core up to now; it costs each of them an interrupt."""
        settle = self._module.load("settle", Kind.RAW_TRACEPOINT)
        for core in self._cores:
            wait_for(partial(_settled, settle, core), f"an undisturbed reading of core {core}")
        table = self._module.map("observe_settled").get(_OBSERVED)
        counted = self._module.counts("observe_counters", "observe_counter")
        if not self._has_ipis:
            del counted["ipis"]
        return Reading(
            ns={core: dict(zip(KINDS, table[core]["ns"].tolist(), strict=True)) for core in self._cores},
            since={core: int(table[core]["since"]) for core in self._cores},
            events={name: int(values.sum()) for name, values in counted.items()},
        )

    def _program(self, event: str) -> int:
        return self._module.load(f"on_{event}", Kind.RAW_TRACEPOINT)

    def _attach_ipi(self, stack: ExitStack, event: str) -> bool:
        try:
            stack.enter_context(bpf.Tracepoint(self._program("ipi"), event))
        except bpf.BpfError as error:
            if error.errno != errno.ENOENT:
                raise
            return False
        return True


def _settled(settle: int, core: int) -> bool:
    return bpf.run_on_core(settle, core) == 0
