"""One policy, compiled and loaded: its programs and maps, its workers' queues, and what it has counted.

Several units may be loaded at once, so that one can take another's place between two frames. Their workers
are threads of their own.
"""

import itertools
import struct
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, fields
from ipaddress import ip_address

import numpy as np
from numpy.typing import NDArray

from steering import bpf, cores, workers
from steering.bpf import Kind
from steering.closing import Closing
from steering.compile import Module
from steering.layout import header, struct_in
from steering.plan import NICE, Delivery, Plan

_SOURCES = ("steer.bpf.c", "deliver.bpf.c", "reconcile.bpf.c")
_EVENTS = ("cpumap_enqueue", "cpumap_kthread", "devmap_xmit", "redirect_err")
_MAPS, _POLICY = header("maps.h"), header("policy.h")
_PATH = _MAPS.struct("path")


@dataclass(frozen=True)
class Route:
    """How a proven frame gets to its container, and what proves it: see struct path in maps.h."""

    local: str
    remote: str
    vni: int
    port: int
    mac: str
    tunnel_mac: str
    """The tunnel device's own: frames that claim to come from it are left to the stock stack."""
    mtu: int
    device: int
    next: int = 0
    zero_checksum: bool = False
    """Over IPv6: whether a packet without an outer UDP checksum is taken. Over IPv4 it always is."""


@dataclass(frozen=True)
class Totals:
    """Frames by name, of enum steer_counter and of enum deliver_counter, and by core."""

    steer: Mapping[str, int]
    deliver: Mapping[str, int]
    local: Mapping[int, int]
    """Delivered from that core, on which the NIC had them."""
    sent: Mapping[int, int]
    """To the worker on that core."""
    lost: Mapping[int, int]
    """Dropped on the way into the worker's queue, for it was full."""
    done: Mapping[int, int]
    bulks: Mapping[int, int]
    """In so many bulks that core has taken out what it has done."""
    numbered: Mapping[int, int]
    """Delivered from that core while their order was watched."""
    reordered: Mapping[int, int]
    """Of these, behind a later one of their flow."""

    def __add__(self, other: "Totals") -> "Totals":
        return self._with(other, 1)

    def __sub__(self, other: "Totals") -> "Totals":
        return self._with(other, -1)

    def _with(self, other: "Totals", sign: int) -> "Totals":
        parts = []
        for part in fields(self):
            one, two = getattr(self, part.name), getattr(other, part.name)
            parts.append({key: one.get(key, 0) + sign * two.get(key, 0) for key in {**one, **two}})
        return Totals(*parts)

    @property
    def passed(self) -> int:
        """Left to the stock stack."""
        return sum(n for name, n in self.steer.items() if name.startswith(("pass_", "refused_")))

    @property
    def waiting(self) -> int:
        """In the workers' queues."""
        return sum(self.sent.values()) - sum(self.lost.values()) - sum(self.done.values())

    @property
    def drops(self) -> dict[str, dict[str, int]]:
        """What was lost in our hands, by stage and name; without zeros."""
        found = {
            "steer": {name: n for name, n in self.steer.items() if name.startswith("drop_")},
            "worker": {"drop_queue_full": sum(self.lost.values())},
            "deliver": {name: n for name, n in self.deliver.items() if name.startswith("drop_")},
        }
        kept = {stage: {name: n for name, n in part.items() if n} for stage, part in found.items()}
        return {stage: part for stage, part in kept.items() if part}

    @property
    def delivered(self) -> int:
        """Handed on to containers: into a veth, or to the stack for peer.bpf.c to deliver after GRO."""
        left = sum(self.deliver.get(name, 0) for name in self.deliver if name.startswith("drop_"))
        return self.steer.get("local", 0) + self.deliver.get("taken", 0) - left


class Unit(Closing):
    """A compiled policy. Raises what compiling and loading raise."""

    def __init__(self, plan: Plan, secret: int, more: tuple[str, ...] = ()) -> None:
        """``more`` sources are compiled with it, for :meth:`load`."""
        self.plan, self._nice = plan, NICE.default
        with ExitStack() as stack:
            defines = {**plan.policy.defines(), "CORES": cores.possible()}
            self._module = stack.enter_context(Module(*_SOURCES, *more, defines=defines))
            self.program = self._module.load("steer", Kind.XDP)
            self._rows: dict[Route, int] = {}
            self._setting = self._set_up(secret)
            self.observers = {
                f"xdp_{event}": self.load(f"on_{event}", Kind.RAW_TRACEPOINT) for event in _EVENTS
            }
            self._observing: list[bpf.Tracepoint] = []
            stack.callback(self.rest)
            self._open = stack.pop_all()

    def load(self, function: str, kind: Kind) -> int:
        """Another program of the same text, over the same maps."""
        return self._module.load(function, kind)

    def close(self) -> None:
        """Unload. Queues empty before their threads end. Closing twice is harmless."""
        self._open.close()

    def serve(self, plan: Plan, nic_mac: str, watched: bool = False) -> None:
        """Do as that plan says, which is of the same key; frames to that address are for this NIC. Whether
        their order is ``watched`` is as for :meth:`watch`.

        Until :meth:`rest` its observers see every redirect of this machine, which costs each some ns.
        """
        if not self._observing:
            try:
                for event, observer in self.observers.items():
                    self._observing.append(bpf.Tracepoint(observer, event))
            except BaseException:
                self.rest()  # half of them would miss losses without a word
                raise
        if plan.nice != self._nice:
            workers.renice(self.cpumap, plan.workers, plan.nice)
            self._nice = plan.nice
        self.plan = plan
        values = [value for _, value in plan.knobs] or [0]
        self._module.map("knobs").put(0, struct.pack(f"={len(values)}I", *values))
        self._setting["veth"] = plan.delivery is Delivery.VETH
        self._setting["mac"] = np.frombuffer(_mac(nic_mac), np.uint8)
        self.watch(watched)

    def watch(self, watched: bool) -> None:
        """Count what comes to its delivery behind a later one of its flow, or do not: it costs each packet
        a cache line that cores share."""
        self._setting["watched"] = watched
        self._module.map("settings").put(0, self._setting.tobytes())

    def rest(self) -> None:
        """Observe nothing any more; of a unit that is attached, or not drained, losses would be missed."""
        while self._observing:
            self._observing.pop().close()

    def route(self, routes: Iterable[Route]) -> None:
        """Serve these and no others; frames of those that stay are served all along."""
        wanted = set(routes)
        for gone in self._rows.keys() - wanted:
            self._module.map("path_rows").delete(_key(gone))
            self._put_row(self._rows.pop(gone), gone, valid=False)
        taken = set(self._rows.values())
        free = (row for row in itertools.count() if row not in taken)
        for new in sorted(wanted - self._rows.keys(), key=lambda route: (route.mac, route.remote)):
            row = next(free)
            self._put_row(row, new, valid=True)
            self._module.map("path_rows").put(_key(new), struct.pack("=I", row))
            self._rows[new] = row

    def put_veth(self, place: int, ifindex: int) -> None:
        """Let that place of the devmap stand for a device of the calling thread's namespace."""
        self._module.map("devmap").put(place, struct.pack("=Ii", ifindex, -1))

    def totals(self) -> Totals:
        """Everything counted since it was loaded."""
        steer = self._module.counts("steer_counters", "steer_counter")
        deliver = self._module.counts("deliver_counters", "deliver_counter")
        row = self._module.map("workers").get(_POLICY.struct("workers"))
        queues = [row["worker"][place] for place in range(len(self.plan.workers))]
        sent, lost, done = (
            {core: int(queue[name]) for core, queue in zip(self.plan.workers, queues, strict=True)}
            for name in ("sent", "lost", "done")
        )
        return Totals(
            {name: int(counts.sum()) for name, counts in steer.items()},
            {name: int(counts.sum()) for name, counts in deliver.items()},
            _by_core(steer["local"]),
            sent,
            lost,
            done,
            {core: int(deliver["bulks"][core]) for core in self.plan.workers},
            *(_by_core(deliver[name]) for name in ("numbered", "reordered")),
        )

    def policy_counts(self) -> dict[str, NDArray[np.uint64]]:
        """What the policy itself has counted since it was loaded, by name, each of shape (possible cores,).

        These are the members ``count_…`` of its ``struct policy_core``.
        """
        shape = struct_in(self.plan.policy.header.read_text(), "policy_core")
        names = [name for name in shape.names or () if name.startswith("count_")]
        if not names:
            return {}
        rows = self._module.map("policy_cores").get(shape)
        return {name.removeprefix("count_"): rows[name] for name in names}

    @property
    def cpumap(self) -> int:
        """The id of the map that has the workers' queues, as the kernel knows it."""
        return self._module.map("cpumap").id()

    @property
    def is_drained(self) -> bool:
        """Whether the workers have taken out all that was sent to them."""
        now = self.totals()
        return all(now.sent[core] == now.lost[core] + now.done[core] for core in self.plan.workers)

    def _set_up(self, secret: int) -> NDArray[np.void]:
        """Workers and their threads; returns what all programs must know, as far as it is known here."""
        rows = np.zeros((), _POLICY.struct("workers"))
        rows["count"] = len(self.plan.workers)
        deliver = self._module.load("deliver", Kind.CPUMAP)
        for place, core in enumerate(self.plan.workers):
            rows["worker"]["core"][place] = core
            self._module.map("slot_of_core").put(core, struct.pack("=I", place + 1))
            self._module.map("cpumap").put(core, struct.pack("=Ii", self.plan.queue, deliver))
        self._module.map("workers").put(0, rows.tobytes())
        setting = np.zeros((), _MAPS.struct("settings"))
        setting["secret"] = secret
        setting["cpumap"] = self.cpumap
        setting["devmap"] = self._module.map("devmap").id()
        return setting

    def _put_row(self, row: int, route: Route, *, valid: bool) -> None:
        path = np.zeros((), _PATH)
        path["key"] = np.frombuffer(_key(route), _MAPS.struct("path_key"))[0]
        path["tunnel_mac"] = np.frombuffer(_mac(route.tunnel_mac), np.uint8)
        path["mtu"], path["device"], path["next"] = route.mtu, route.device, route.next
        path["unsummed"] = route.zero_checksum or ip_address(route.local).version == 4
        table = self._module.map("paths")
        table.put(row, path.tobytes())  # invalid while it is half written
        if valid:
            path["valid"] = 1
            table.put(row, path.tobytes())


def _by_core(counts: NDArray[np.uint64]) -> dict[int, int]:
    return {core: int(count) for core, count in enumerate(counts) if count}


def _key(route: Route) -> bytes:
    key = np.zeros((), _MAPS.struct("path_key"))
    for name, address in (("local", route.local), ("remote", route.remote)):
        key[name] = np.frombuffer(ip_address(address).packed.ljust(16, b"\0"), "<u4")
    key["vni"], key["port"] = route.vni | ip_address(route.local).version << 24, route.port
    key["mac"] = np.frombuffer(_mac(route.mac), np.uint8)
    return key.tobytes()


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))
