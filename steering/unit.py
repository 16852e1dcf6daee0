"""Programs and maps: compiled once, filled, counted; attaching them is the datapath's job."""

import contextlib
import os
import secrets
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from steering import bpf
from steering.closing import Closing
from steering.compile import Module
from steering.errors import OversprayError
from steering.layout import header
from steering.netns import entered
from steering.overlay import Endpoint, Overlay
from steering.plan import Plan
from steering.policy import Need
from steering.registry import SHELF
from steering.routes import Delivery, Routes, endpoint_key, sender_rows, tunnel_keys, tunnel_row
from steering.rows import Rows


@dataclass
class Totals:
    """Counts since attaching, by program and name, and what went to the workers."""

    steer: Counter[str] = field(default_factory=Counter)
    deliver: Counter[str] = field(default_factory=Counter)
    peer: Counter[str] = field(default_factory=Counter)
    back: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    lost: int = 0
    done: int = 0

    @property
    def gone(self) -> int:
        """Of those sent to workers: taken out, or dropped on their way in."""
        return self.lost + self.done

    def __add__(self, other: "Totals") -> "Totals":
        return Totals(
            self.steer + other.steer,
            self.deliver + other.deliver,
            self.peer + other.peer,
            self.back + other.back,
            self.sent + other.sent,
            self.lost + other.lost,
            self.done + other.done,
        )

    def __sub__(self, other: "Totals") -> "Totals":
        return Totals(
            self.steer - other.steer,
            self.deliver - other.deliver,
            self.peer - other.peer,
            self.back - other.back,
            self.sent - other.sent,
            self.lost - other.lost,
            self.done - other.done,
        )


_WATCHERS: Mapping[Need, tuple[str, ...]] = {
    Need.TIME: (),
    Need.CLEAR: ("tail.bpf.c", "polls.bpf.c", "switches.bpf.c"),
    Need.PRESSURE: ("polls.bpf.c",),
    Need.YIELDS: ("switches.bpf.c",),
}
"""What has to run beside the NIC stage so that a policy can know something."""


class Unit:
    """One compiled policy with its maps and its workers' queues. A context manager."""

    def __init__(self, plan: Plan, secret: int, *more: str) -> None:
        """Compile and fill; ``more`` are sources that want its maps."""
        self.plan = plan
        watchers = {each for need in plan.policy.needs for each in _WATCHERS[need]}
        self.module = Module(
            "steer.bpf.c",
            "deliver.bpf.c",
            "reconcile.bpf.c",
            *(("back.bpf.c",) if plan.ways_back else ()),
            *sorted(watchers),
            *more,
            defines={"POLICY": f'"{plan.policy.header}"', "CORES": bpf.possible_cpus()},
            include=plan.policy.knobs_header(),
            strange=plan.policy.folder.parent != SHELF,
        )
        try:
            self.program = self.module.load("steer", bpf.PROG_TYPE_XDP)
            self.tail = (
                self.module.load("tail", bpf.PROG_TYPE_SCHED_CLS)
                if Need.CLEAR in plan.policy.needs
                else None
            )
            """What has to see the packets on the NIC before they are delivered, if anything."""
            self.back = self._load_back()
            """What sees acknowledgements where containers' packets come out, if anything."""
            self._secret = secret
            sizes = header("maps.h").constants
            self._endpoints = Rows(self.module, "endpoint", sizes["MAX_ENDPOINTS"])
            self._senders = Rows(self.module, "sender", sizes["MAX_SENDERS"])
            self._tunnels = Rows(self.module, "tunnel", sizes["MAX_TUNNELS"])
            self._fill_workers()
            self.set_knobs(plan.knobs)
        except BaseException:
            self.module.close()
            raise

    def set_knobs(self, knobs: Mapping[str, int]) -> None:
        """Change the policy's knobs while packets flow; the next decision sees them all."""
        values = [knobs[name] for name in self.plan.policy.knobs] or [0]
        self.module.put("knobs", 0, struct.pack(f"={len(values)}I", *values))

    def route(self, overlay: Overlay, routes: Routes) -> None:
        """Fill in what may be decapsulated and where it goes; what is not named goes stock."""
        lost = {end for port, end in routes.ports.items() if not self._open_port(port, end)}
        settings = np.zeros((), header("maps.h").struct("settings"))
        settings["secret"] = self._secret
        settings["mac"] = list(bytes.fromhex(overlay.nic_mac.replace(":", "")))
        settings["cpumap"] = bpf.map_info(self.module.fd("cpumap")).id
        if self.back is not None:
            settings["follow"], settings["back"] = 1, self.plan.back
            settings["hold"] = self.plan.shield * 1000
        settings["cells"] = self.plan.cells
        senders = sender_rows(overlay)
        settings["guarded"] = bool(senders)
        self._senders.replace(senders)
        self.module.put("settings", 0, settings)
        self._endpoints.replace(
            {
                (key := endpoint_key(end)): partial(route.row, key)
                for end, route in routes.table.items()
                if end not in lost
            }
        )
        self._tunnels.replace({key: partial(tunnel_row, key) for key in tunnel_keys(overlay)})

    def totals(self) -> Totals:
        """What has been counted."""
        workers = self.workers()
        deliver = Counter(self.module.total("deliver_counters", "deliver_counter"))
        deliver["drop_device"] -= deliver["drop_proof"]  # the kernel counts all drops there
        return Totals(
            Counter(self.module.total("steer_counters", "steer_counter")),
            deliver,
            Counter(),
            Counter(self.module.total("back_counters", "back_counter") if self.back else {}),
            *(int(workers[end].sum()) for end in ("sent", "lost", "done")),
        )

    def workers(self) -> NDArray[np.void]:
        """The workers' queues seen from both ends: struct worker, one row a slot."""
        table = self.module.get("workers", header("policy.h").struct("workers"))
        return np.asarray(table["worker"][: len(self.plan.cores)])

    def strayed(self) -> list[int]:
        """Cores of the workers whose threads may run elsewhere, for their core was offline."""
        found = []
        for row in self.workers():
            core, thread = int(row["core"]), int(row["thread"])
            with contextlib.suppress(OSError):  # it is just going
                if os.sched_getaffinity(thread) != {core}:
                    found.append(core)
        return found

    def close(self) -> None:
        """Let go of programs, maps and workers."""
        self.module.close()

    def _fill_workers(self) -> None:
        program = 0
        if self.plan.delivery is Delivery.VETH:
            program = self.module.load("deliver", bpf.PROG_TYPE_XDP, bpf.ATTACH_XDP_CPUMAP)
        table = np.zeros((), header("policy.h").struct("workers"))
        table["count"] = len(self.plan.cores)
        for index, core in enumerate(self.plan.cores):
            self.module.put("worker_of_core", core, struct.pack("=I", index + 1))
            self.module.put("cpumap", core, struct.pack("=II", self.plan.queue, program))
            thread = self._thread_of(core)
            if os.getpriority(os.PRIO_PROCESS, thread) != self.plan.nice:
                os.setpriority(os.PRIO_PROCESS, thread, self.plan.nice)
            table["worker"][index]["core"], table["worker"][index]["thread"] = core, thread
        self.module.put("workers", 0, table)

    def _load_back(self) -> int | None:
        """None where the plan does without, or the kernel can't tell namespaces apart there."""
        kind = bpf.PROG_TYPE_SCHED_CLS
        if not self.plan.ways_back or not bpf.has_helper(kind, bpf.GET_NETNS_COOKIE):
            return None
        return self.module.load("back", kind)

    def _open_port(self, port: int, end: Endpoint) -> bool:
        """Let a place in the devmap lead to a container; False where that has just gone."""
        try:
            # A devmap entry is looked up in the namespace of the thread that writes it.
            with entered(end.host_ns.path):
                self.module.put("devmap", port, struct.pack("=II", end.host_ifindex, 0))
        except OversprayError:
            return False
        return True

    def _thread_of(self, core: int) -> int:
        """The kernel thread of a worker, by the name that kernel/bpf/cpumap.c gives it."""
        name = f"cpumap/{core}/map:{bpf.map_info(self.module.fd('cpumap')).id}"
        for path in Path("/proc").glob("[0-9]*/comm"):
            with contextlib.suppress(OSError):  # a process that ends while we look
                if path.read_text().strip() == name:
                    return int(path.parent.name)
        raise OversprayError(f"the worker on core {core} has no thread '{name}'")


class Programs(Closing):
    """What is compiled once and attached as often as wanted. A context manager."""

    def __init__(self) -> None:
        self.secret = secrets.randbits(63)
        """Proof that a frame was stripped by one of these programs."""
        self._units: dict[str, Unit] = {}
        self._peers: dict[int, Module] = {}

    def unit(self, plan: Plan) -> Unit:
        """The unit of a plan, compiled when it is first asked for."""
        if plan.key not in self._units:
            self._units[plan.key] = Unit(plan, self.secret)
        return self._units[plan.key]

    def peer(self, hop: int) -> Module:
        """peer.bpf.c, told which hop it is: 0 on the NIC, 1 behind a helper veth."""
        if hop not in self._peers:
            module = Module("peer.bpf.c")
            module.put("peer_settings", 0, struct.pack("=QII", self.secret, hop, 0))
            self._peers[hop] = module
        return self._peers[hop]

    def discard(self, unit: Unit) -> None:
        """Let go of one unit."""
        self._units.pop(unit.plan.key, None)
        unit.close()

    def close(self) -> None:
        """Let go of all."""
        for unit in list(self._units.values()):  # one may just be compiled in another thread
            unit.close()
        for module in self._peers.values():
            module.close()
        self._units, self._peers = {}, {}
