"""What a run costs and what it loses: one reading before, one after, and what lies between them.

Times are exact: the observers (xdp/observe.bpf.c) charge every moment of a core to a softirq or to
a kind of thread; the tick-sampled /proc/stat serves for steal alone, which no clock of ours sees.
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.lab_plan import Lab
from bench.losses import Drops, Losses, by_stage
from bench.observer import COUNTS, KINDS, VECTORS, Observer
from bench.reasons import Reasons
from steering import bpf
from steering.closing import Closing

_EVENTS = {
    "polls": "polls",
    "bulks": "bulks",
    "wakeups": "sleeps",
    "switches": "switches",
    "preemptions": "preemptions",
}
_SIZES = {"poll": ("polled", "polls"), "bulk": ("bulked", "bulks")}
_XDP_LOSSES = {
    "drop_memory": ("worker", "no_memory"),
    "drop_refused": ("xdp", "device_refused"),
    "drop_redirect": ("xdp", "redirect_failed"),
    "drop_exception": ("xdp", "exception"),
}
_TICKS = os.sysconf("SC_CLK_TCK")
_IPIS = ("RES", "CAL", "IPI")


@dataclass(frozen=True)
class Snapshot:
    """Everything counted since the collectors began, at one moment."""

    observed: NDArray[np.void]
    """dtype bench.observer.OBSERVED, shape (possible cores,)."""
    interrupts: NDArray[np.int64]
    """Hard interrupts, and of these from other cores: shape (2,)."""
    stolen: dict[int, int]
    """Ticks that the hypervisor gave to others, by core."""
    squeezed: int
    """Times that a softirq stopped with packets left, as its budget was used up."""
    lost: Counter[str]
    why: Counter[str]
    tcp: Counter[str]
    load: float
    """Runnable threads on the host, averaged over the last minute."""


@dataclass(frozen=True)
class Cost:
    """What happened between two snapshots."""

    seconds: float
    cores: dict[int, dict[str, float]]
    """Per core, shares of the time by kind (:data:`bench.sample.CORE_KINDS`); the rest is idle."""
    softirq_seconds: dict[str, float]
    """Over the observed cores, by vector: ``net_rx``, …"""
    events: dict[str, int]
    """Over the observed cores; names as in :meth:`per_packet`."""
    gathered: dict[str, float]
    """Packets (one that GRO has made counts once) to a NAPI ``poll``; to a ``bulk`` of cpumap."""
    drops: Drops
    """By stage and name: what the kernel lost, but not what the datapath has counted itself."""
    reasons: dict[str, int] = field(default_factory=dict)
    """Packets that the kernel freed as dropped, by its own words, where that was asked for."""
    tcp: dict[str, int] = field(default_factory=dict)
    """What the receivers' TCP did out of the ordinary, by the kernel's names."""
    squeezed: int = 0
    """Times that a softirq stopped with packets left, as its budget was used up."""
    load: float = 0.0

    @property
    def wire_share(self) -> float:
        """Share of the time that the wire used for sending, on its busiest core."""
        return max((shares.get("wire", 0.0) for shares in self.cores.values()), default=0.0)

    def per_packet(self, packets: int) -> dict[str, float]:
        """Events for each of so many packets.

        ``softirqs`` (NET_RX entries), ``softirq_VECTOR`` (of every vector),
        ``raised`` (NET_RX asked for), ``polls`` (of NAPI), ``bulks``
        and ``wakeups`` (of cpumap threads), ``switches`` (threads that went to sleep),
        ``preemptions``, ``irqs`` (hard, all), ``ipis`` (those from other cores).
        """
        return {name: count / packets for name, count in self.events.items()} if packets else {}


class Collectors(Closing):
    """Ready from construction to :meth:`close`; a context manager.

    ``cores`` are those whose time is told; ``observer`` one to share, for compiling it takes a
    second or two; ``why`` also asks the kernel for its reasons, which costs each packet something
    where the sink is `count`, for that drops everything in the end (this reason is left out).
    """

    def __init__(
        self,
        lab: Lab,
        cores: Sequence[int],
        observer: Observer | None = None,
        *,
        why: bool = False,
    ) -> None:
        self.cores = tuple(cores)
        with ExitStack() as stack:
            self._losses = stack.enter_context(Losses(lab))
            self.observer = observer or stack.enter_context(Observer())
            self._reasons = stack.enter_context(Reasons()) if why else None
            self._stack = stack.pop_all()

    def snapshot(self) -> Snapshot:
        """Read everything: about a millisecond, and an interrupt on every core."""
        return Snapshot(
            observed=self.observer.read(self.cores),
            interrupts=_interrupts(),
            stolen=_stolen(),
            squeezed=_squeezed(),
            lost=self._losses.read(),
            why=self._reasons.read() if self._reasons else Counter(),
            tcp=self._losses.tcp(),
            load=os.getloadavg()[0],
        )

    def difference(
        self, before: Snapshot, after: Snapshot, spun: Mapping[int, int] | None = None
    ) -> Cost:
        """What happened in between. ``spun``: ns that the wire of each core waited by spinning."""
        change = _Change(before, after, self.cores)
        stolen = {core: after.stolen[core] - before.stolen[core] for core in after.stolen}
        return Cost(
            seconds=float(change.ns.mean() / 1e9),
            cores={
                core: change.shares(row, (spun or {}).get(core, 0), stolen.get(core, 0) / _TICKS)
                for row, core in enumerate(self.cores)
            },
            softirq_seconds=change.softirq_seconds(),
            events=change.events(),
            gathered=change.gathered(),
            drops=change.drops(),
            reasons=dict(after.why - before.why),
            tcp=dict(after.tcp - before.tcp),
            squeezed=after.squeezed - before.squeezed,
            load=after.load,
        )

    def own_cost(self, run: Callable[[], int]) -> float:
        """ns that the observers take for each packet; ``run`` drives packets and says how many.

        The kernel times each run of theirs, which makes all BPF programs slower: not for a run
        whose figures count.
        """
        with bpf.stats_enabled():
            before = self.observer.own_time()
            packets = run()
            used = self.observer.own_time() - before
        return max(0.0, used) / max(1, packets)

    def close(self) -> None:
        """Let go of everything that is not shared."""
        self._stack.close()


class _Change:
    """The arithmetic between two snapshots, over the cores that are observed."""

    def __init__(self, before: Snapshot, after: Snapshot, cores: Sequence[int]) -> None:
        rows = list(cores)
        self._part = {
            name: after.observed[name][rows].astype(np.int64) - before.observed[name][rows]
            for name in ("count", "ran", "entries", "raised", "served", "since")
        }
        self._counts = self._part["count"].sum(axis=0)
        self._lost = by_stage(before.lost, after.lost)
        self._interrupts = after.interrupts - before.interrupts
        self.ns: NDArray[np.int64] = self._part["since"]
        """Time between the snapshots, by core."""

    def shares(self, row: int, spun: int, stolen: float) -> dict[str, float]:
        """Shares of one core's time; ``spun`` in ns, ``stolen`` in s."""
        ran, total = self._part["ran"][row], float(self.ns[row])
        shares = {name: int(ran[KINDS[name]]) / total for name in KINDS if name != "idle"}
        shares["wire"] = max(0.0, shares["wire"] - spun / total)
        shares["softirq"] = int(self._part["served"][row].sum()) / total
        shares["steal"] = stolen / (total / 1e9)
        return {name: share for name, share in shares.items() if share}

    def softirq_seconds(self) -> dict[str, float]:
        """Time in each vector."""
        served = self._part["served"].sum(axis=0) / 1e9
        return {name: float(served[place]) for name, place in VECTORS.items() if served[place]}

    def events(self) -> dict[str, int]:
        """Counts by the names that :meth:`Cost.per_packet` has."""
        received = VECTORS["net_rx"]
        return {
            "softirqs": int(self._part["entries"][:, received].sum()),
            "raised": int(self._part["raised"][:, received].sum()),
            **{name: int(self._counts[COUNTS[count]]) for name, count in _EVENTS.items()},
            **{
                f"softirq_{name}": count
                for name, place in VECTORS.items()
                if (count := int(self._part["entries"][:, place].sum()))
            },
            "irqs": int(self._interrupts[0]),
            "ipis": int(self._interrupts[1]),
        }

    def gathered(self) -> dict[str, float]:
        """Mean sizes of what was taken at a time."""
        counts = {name: int(self._counts[place]) for name, place in COUNTS.items()}
        return {
            name: counts[taken] / counts[times]
            for name, (taken, times) in _SIZES.items()
            if counts[times]
        }

    def drops(self) -> Drops:
        """Losses by stage and name, those of XDP among them."""
        drops = {stage: dict(names) for stage, names in self._lost.items()}
        for count, (stage, name) in _XDP_LOSSES.items():
            lost = int(self._counts[COUNTS[count]])
            if lost:
                drops.setdefault(stage, {})[name] = lost
        return drops


def _interrupts() -> NDArray[np.int64]:
    """Hard interrupts since boot over all cores, and of these from other cores: shape (2,)."""
    lines = Path("/proc/interrupts").read_text().splitlines()
    cores = len(lines[0].split())
    every = foreign = 0
    for line in lines[1:]:
        name, *rest = line.split()
        count = sum(int(word) for word in rest[:cores] if word.isdigit())
        every += count
        foreign += count if name.startswith(_IPIS) else 0
    return np.array([every, foreign])


def _stolen() -> dict[int, int]:
    """Stolen ticks by core, since boot."""
    rows = (line.split() for line in Path("/proc/stat").read_text().splitlines())
    return {int(row[0][3:]): int(row[8]) for row in rows if re.fullmatch(r"cpu\d+", row[0])}


def _squeezed() -> int:
    """Third column of softnet_stat, over all cores, since boot."""
    lines = Path("/proc/net/softnet_stat").read_text().splitlines()
    return sum(int(line.split()[2], 16) for line in lines)
