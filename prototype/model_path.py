"""A receive path for the model: which stages a packet passes, what they cost, where queues lie."""

import re
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from prototype import model_state as state
from prototype.costs import Cost, Costs
from steering.errors import BadInput, unknown
from steering.policy import Policy, read_knobs
from steering.registry import find
from steering.spec import Spec

CASES = ("native", "linux", "docker", "flannel")
STOCK = ("none", "rss", "rps", "rps-vxlan", "rps-veth")
COALESCING = ("gro-list",)
TCP_SEGMENTS = 44
"""Segments of 1448 bytes in the 64 KB that GRO makes of them."""
_UDP_SEGMENTS = 64
Index = np.int64
_CASE = re.compile(r"([^/@:+]*)/(.*)", re.DOTALL)
_FORM = "[CASE/]STEERING[:KEY=VALUE,…][+gro-list]"
_NICE = 1.25
"""A step of nice, as a factor of a thread's weight (kernel/sched/core.c)."""


@dataclass(frozen=True)
class Setup:
    """What the model is to run: a case, steering, and how packets are gathered."""

    case: str
    steering: Spec
    merges: bool = False
    policy: Policy | None = None
    """None: stock Linux."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a variant as the bench writes it.

        Raises:
            BadInput: of another form, or something that the model does not have.
        """
        found = _CASE.fullmatch(text.strip())
        case, rest = found.groups() if found else ("docker", text.strip())
        steering, *coalescing = rest.split("+")
        if case not in CASES:
            raise unknown("case", case, CASES)
        if not steering:
            raise BadInput(f"'{text}' is no variant: write {_FORM}")
        for each in coalescing:
            if each not in COALESCING:
                raise unknown("coalescing of the model", each, COALESCING)
        spec = Spec.parse(steering)
        stock = spec.name in STOCK
        if stock and spec.args:
            raise BadInput(f"'{spec}': stock steering has no knobs in the model")
        if case == "native" and spec.name not in ("none", "rss", "rps"):
            raise BadInput(f"'{text}': case native has no tunnel: choose none, rss or rps")
        made = cls(case, spec, bool(coalescing), None if stock else find(spec))
        _ = made.knobs, made.weight
        return made

    @property
    def knobs(self) -> dict[str, int]:
        """The policy's, with ``nice`` apart."""
        if self.policy is None:
            return {}
        given = {key: value for key, value in self.steering.args.items() if key != "nice"}
        return read_knobs(f"policy '{self.policy.name}'", self.policy.knobs, given)

    @property
    def weight(self) -> float:
        """Of a worker's thread for the scheduler; 1 at nice 0."""
        if self.policy is None:
            return 1.0
        text = self.steering.args.get("nice", str(self.policy.nice))
        if not re.fullmatch(r"-?\d{1,2}", text) or not -20 <= int(text) <= 19:
            raise BadInput(f"nice={text} is out of range: -20 to 19")
        return float(_NICE ** -int(text))

    def __str__(self) -> str:
        return f"{self.case}/{self.steering}{'+gro-list' if self.merges else ''}"


@dataclass(frozen=True)
class Path:
    """A setup as the engine has it: see :class:`prototype.model_state.State`."""

    tables: NDArray[np.float64]
    hops: NDArray[np.int64]
    stock: int
    """First stage of packets that the policy may not steer."""
    merge: int


def build(setup: Setup, costs: Costs, protocol: str) -> Path:
    """The path of a setup; ``protocol`` is ``udp`` or ``tcp``."""
    tcp = protocol == "tcp"
    merges = setup.merges or tcp
    stages = _Stages(costs, merges)
    ours = setup.policy is not None
    tunnel = setup.case != "native" and not ours
    gathered = ["gro", *(["tunnel_gro"] if tunnel else [])] if merges else ["miss"]
    needs_time = ours and setup.policy is not None and "time" in setup.policy.needs
    received = ["nic", *(["steer"] if ours else []), *(["clock"] if needs_time else [])]
    stages.cost(state.C_RX_LOCAL, *received, "skb", *gathered)
    stages.cost(state.C_RX_REMOTE, *received, "hand")
    if ours:
        for row in (state.C_RX_LOCAL, state.C_RX_REMOTE):
            stages.tables[row] += costs.policies.get(setup.steering.name, 0.0)
    stages.cost(state.C_WORK, "skb", "gro" if merges else "miss")
    for row, name in _ALONE.items():
        stages.cost(row, name)
    if tcp:
        # The segments of an skb go into the socket as one, which is in the cost `tcp`; one read
        # takes as many.
        for row in (state.C_SOCKET, state.C_SEGMENT):
            stages.tables[row] = 0.0
        stages.tables[state.C_READ] /= TCP_SEGMENTS
    last = "tcp" if tcp else "stack"
    if ours:
        stages.stage(0, state.D_BACKLOG, last, "redirect", end=True)
    first = len(stages.hops)
    stock = setup.steering.name if not ours else "none"
    # Who asks first pays for the hash; without a tunnel in between it is still there for the next.
    hashed = stock == "rps-vxlan"
    stages.cost(state.C_HOP, "hop", *(["hash"] if hashed or stock == "rps" else []))
    if setup.case == "native":
        stages.stage(2 if stock == "rps" else 0, state.D_BACKLOG, last, end=True)
    else:
        stages.stage(2 if stock == "rps" else 0, state.D_BACKLOG, "outer")
        hop = 2 if stock == "rps-vxlan" else 1
        if setup.case == "linux":
            stages.stage(hop, state.D_TUNNEL, last, end=True)
        else:
            stages.stage(hop, state.D_TUNNEL, "bridge", *([] if hashed else ["hash"]))
            stages.stage(2 if stock == "rps-veth" else 1, state.D_VETH, last, end=True)
    segments = TCP_SEGMENTS if tcp else _UDP_SEGMENTS
    return Path(stages.tables, np.array(stages.hops, np.int64), first, segments if merges else 1)


_ALONE = {
    state.C_TAKE: "take",
    state.C_BULK: "bulk",
    state.C_SOCKET: "socket",
    state.C_SEGMENT: "segment",
    state.C_READ: "read",
    state.C_IRQ: "irq",
    state.C_SOFTIRQ: "softirq",
    state.C_POLL: "poll",
    state.C_IPI: "ipi",
    state.C_WAKE: "wake",
    state.C_SWITCH: "switch",
    state.C_WIRE: "wire",
}


class _Stages:
    """Collects a path's costs and stages."""

    def __init__(self, costs: Costs, merges: bool) -> None:
        self.costs, self.merges = costs, merges
        self.tables = np.zeros((state.COSTS, state.QUANTILES))
        self.hops: list[tuple[int, int, Index, Index]] = []

    def cost(self, row: Index, *names: str) -> None:
        """Stages that come together are one: their means add, and they vary together."""
        for name in names:
            cost: Cost = getattr(self.costs.stages, name)
            self.tables[row] += cost.quantiles(state.QUANTILES)

    def stage(self, hop: int, drop: Index, *names: str, end: bool = False) -> None:
        self.cost(state.C_STAGE + len(self.hops), *names)
        # What RPS hands over and what comes out of a veth waits in one queue, a core's backlog; the
        # tunnel device has one of its own (gro_cells).
        queue = state.CELLS if drop == state.D_TUNNEL else state.HOP
        if drop == state.D_VETH and self.merges:
            queue = state.VETH  # GRO there means NAPI, with a ring
        self.hops.append((hop, int(end), drop, queue))
