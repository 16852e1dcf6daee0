"""The observers in the kernel (xdp/observe.bpf.c): what each core did, and for whom."""

import os
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from steering import bpf
from steering.closing import Closing
from steering.compile import Module
from steering.layout import header

LAYOUT = header("observe.h")
OBSERVED = LAYOUT.struct("observed")
"""One core's numbers: struct observed."""

_PROBES = (
    "softirq_entry",
    "softirq_exit",
    "softirq_raise",
    "sched_switch",
    "napi_poll",
    "xdp_cpumap_kthread",
    "xdp_devmap_xmit",
    "xdp_redirect_err",
    "xdp_exception",
)
_TRIES = 1000


def places(enum: str, prefix: str) -> dict[str, int]:
    """Name -> place of the enumerators of ``enum``: ``polls`` for OBSERVE_POLLS."""
    names = LAYOUT.enum(enum).items()
    return {name.removeprefix(prefix).lower(): place for name, place in [*names][:-1]}


COUNTS = places("observe_counter", "OBSERVE_")
KINDS = places("observe_kind", "OBSERVE_")
VECTORS = places("softirq_vector", "SOFTIRQ_")


class Observer(Closing):
    """Runs from construction to :meth:`close`; a context manager. Sees the whole host."""

    def __init__(self) -> None:
        self._module = Module("observe.bpf.c")
        self._settle = self._module.load("settle", bpf.PROG_TYPE_RAW_TRACEPOINT)
        self._nothing = self._module.load("nothing", bpf.PROG_TYPE_RAW_TRACEPOINT)
        self._watched: dict[int, str] = {}

    def watch(self, threads: Iterable[int], kind: str) -> None:
        """Charge these threads' time to ``wire`` or ``application``, in place of those before.

        In time is before they first leave their core, or the next reading.
        """
        wanted = dict.fromkeys(threads, kind)
        before = {thread for thread, held in self._watched.items() if held == kind}
        table = self._module.fd("watched")
        for thread in before - wanted.keys():
            bpf.map_delete(table, thread.to_bytes(4, "little"))
            del self._watched[thread]
        for thread in wanted.keys() - before:
            bpf.map_update(table, thread.to_bytes(4, "little"), KINDS[kind].to_bytes(4, "little"))
        self._watched |= wanted

    def read(self, cores: Iterable[int]) -> NDArray[np.void]:
        """Everything since construction: dtype OBSERVED, shape (possible cores,).

        What runs on ``cores`` is charged up to this moment, ``since`` (ns, monotonic).
        """
        for core in cores:
            bpf.run_on_core(self._settle, core)
        return bpf.map_lookup(self._module.fd("observed"), bytes(4), OBSERVED, per_core=True)

    def own_time(self) -> float:
        """ns that the observers themselves have used while :func:`steering.bpf.stats_enabled`.

        Without what the kernel needs to time them: that is what a program takes that does nothing.
        """
        for _ in range(_TRIES):
            bpf.run_on_core(self._nothing, min(os.sched_getaffinity(0)))
        idle_time, idle_runs = bpf.prog_runs(self._nothing)
        programs = [self._module.load(f"raw_tracepoint__{probe}", 0) for probe in _PROBES]
        times, runs = zip(*(bpf.prog_runs(program) for program in programs), strict=True)
        return float(sum(times) - sum(runs) * idle_time / idle_runs)

    def close(self) -> None:
        """Stop observing."""
        self._module.close()
