"""Attach, swap and detach the datapath of one NIC.

Every program hangs on a bpf link: when this process dies they go, and the host forwards as stock does.
"""

import secrets
import struct
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from steering import bpf, netns, nic
from steering.bpf import Kind, Link
from steering.closing import Closing
from steering.compile import Module
from steering.errors import BadInput, OversprayError
from steering.hops import Hops
from steering.layout import header
from steering.plan import Delivery, Plan
from steering.target import Endpoint, Target, Tunnel
from steering.unit import Route, Totals, Unit
from steering.waiting import wait_for

_KEPT = 16
"""Units that stay compiled, for swaps back to them; each has threads and maps of its own."""
_MOST_ROUTES = header("maps.h").constants["MAX_PATHS"]
_LAST_S = 2.0
"""How long frames that the kernel has lost without a word are waited for on detaching."""


class Units(Closing):
    """Compiled policies, kept for when they are attached again, and the delivery. One secret for all."""

    def __init__(self) -> None:
        self.secret = secrets.randbits(64)
        self._units: dict[str, Unit] = {}
        self.peer = Module("peer.bpf.c")
        self.peer.map("peer_secret").put(0, struct.pack("=Q", self.secret))
        self.hops = [self.peer.load(hop, Kind.TC) for hop in ("peer", "peer_next")]

    def of(self, plan: Plan) -> Unit:
        """The plan's unit; compiled in about a second at the first time."""
        unit = self._units.pop(plan.key, None) or Unit(plan, self.secret)
        self._units[plan.key] = unit  # the last of them: used last
        return unit

    def trim(self) -> None:
        """Unload those not used for the longest."""
        for key in list(self._units)[:-_KEPT]:
            self._units.pop(key).close()

    def close(self) -> None:
        """Unload all."""
        self.peer.close()
        while self._units:
            self._units.popitem()[1].close()


class Datapath(Closing):
    """The datapath of one NIC, attached from construction until :meth:`close`.

    ``units`` keeps what was compiled beyond this datapath's life, for one that is attached again and again.

    Raises:
        BadInput: there is no tunnel, so nothing to steer.
        OversprayError: the device takes no native XDP, or has a program already.
    """

    def __init__(self, target: Target, plan: Plan, units: Units | None = None, generic: bool = False) -> None:
        """``generic``: by generic XDP, which works with an skb, and on any device."""
        if not target.tunnels:
            raise BadInput(f"policy '{plan.policy.name}' needs a tunnel: choose case flannel or docker")
        self.target = target
        with ExitStack() as stack:
            self._units = units or stack.enter_context(Units())
            self._peer = self._units.peer
            self._peer_before = self._count_peer()
            self._hops: Hops | None = None
            self._routes: list[Route] = []
            self._watched = False
            if plan.delivery is Delivery.PEER:
                self._open_peer(stack)
            else:
                self._open_veths(stack)
            for reason in self._find_routes(target.tunnels).values():
                if not self.target.tunnels:
                    raise OversprayError(reason)
            self.unit = self._ready(plan)
            stack.callback(lambda: self.unit.rest())
            self._before = self.unit.totals()
            self._retired: Totals | None = None
            self._last: Totals | None = None
            self._link = stack.enter_context(
                nic.attached(self.unit.program, target.nic, target.nic_index, generic)
            )
            self._open = stack.pop_all()

    @property
    def plan(self) -> Plan:
        """What is attached."""
        return self.unit.plan

    def swap(self, plan: Plan) -> None:
        """Put another policy, or other workers, in place: between two frames, and without losing one.

        Raises what compiling and loading raise; what was attached stays then.
        """
        if plan.delivery is not self.plan.delivery:
            raise BadInput(f"a swap keeps the delivery ({self.plan.delivery}): detach, and attach again")
        fresh = self._ready(plan)
        if fresh is self.unit:  # of which only knobs have changed
            return
        before = fresh.totals()
        self._link.replace(fresh.program)
        old, self.unit = self.unit, fresh
        try:
            self._await_drained(old)
        finally:
            gained = old.totals() - self._before
            self._retired = self._retired + gained if self._retired else gained
            self._before = before
            old.rest()
        self._units.trim()

    def serve(self, tunnels: Iterable[Tunnel]) -> dict[Tunnel, str]:
        """Deliver to the containers behind these tunnels and no others, from their peers.

        Frames for those that stay are served all along; for others they take the stock path. For the delivery
        by peer alone: a veth's place in the devmap must not change. Raises OversprayError for the other.
        Returns those that are not served, and why: their namespace has just gone, or there are too many.
        """
        if self._hops is None:
            raise OversprayError(f"delivery {self.plan.delivery} serves the containers that it began with")
        refused = self._find_routes(tunnels)
        self.unit.route(self._routes)
        self._hops.trim()
        return refused

    def watch(self, watched: bool) -> None:
        """Count what comes to its delivery behind a later one of its flow, over all swaps, or do not."""
        self._watched = watched
        self.unit.watch(watched)

    def totals(self) -> Totals:
        """Everything counted since attaching, over all swaps, and until :meth:`close`."""
        if self._last:
            return self._last
        now = self.unit.totals() - self._before
        return now + self._retired if self._retired else now

    def peer(self) -> dict[str, int]:
        """All of enum peer_counter by name, since attaching."""
        return {name: int(counts.sum()) for name, counts in self.peer_by_core().items()}

    def peer_by_core(self) -> dict[str, NDArray[np.uint64]]:
        """The same, each of shape (possible cores,)."""
        return {name: counts - self._peer_before[name] for name, counts in self._count_peer().items()}

    def close(self) -> None:
        """Detach: the next frame takes the stock path, and those on their way still arrive."""
        try:
            self._link.close()  # first: then nothing new needs the rest
            self._await_drained(self.unit)
            if self.plan.delivery is Delivery.PEER:
                self._await_handed_over()
        finally:
            try:
                self._last = self.totals()
            finally:
                self._open.close()

    def _count_peer(self) -> dict[str, NDArray[np.uint64]]:
        return self._peer.counts("peer_counters", "peer_counter")

    def _ready(self, plan: Plan) -> Unit:
        """Its maps are filled before the first frame comes."""
        unit = self._units.of(plan)
        unit.serve(plan, self.target.nic_mac, self._watched)
        if plan.delivery is Delivery.VETH:
            for tunnel in self.target.tunnels:
                with netns.entered(tunnel.place.ns):  # a devmap entry is resolved where it is written
                    for end in tunnel.endpoints:
                        unit.put_veth(self._place(end), end.host_index)
        unit.route(self._routes)
        return unit

    def _find_routes(self, tunnels: Iterable[Tunnel]) -> dict[Tunnel, str]:
        """Routes to all of them but those that are returned; the target is then what there are routes to."""
        self._routes, reached = [], []
        refused: dict[Tunnel, str] = {}
        for tunnel in tunnels:
            try:
                found = list(self._routed(tunnel))
            except OversprayError as error:
                refused[tunnel] = str(error)
                continue
            if len(self._routes) + len(found) > _MOST_ROUTES:
                refused[tunnel] = f"with it there are more than {_MOST_ROUTES} paths from VTEPs to containers"
                continue
            self._routes += found
            reached.append(tunnel)
        self.target = replace(self.target, tunnels=tuple(reached))
        return refused

    def _routed(self, tunnel: Tunnel) -> Iterator[Route]:
        """Raises OversprayError where there is no way to its namespace."""
        helper = self._hops.reach(tunnel.place.ns) if self._hops else 0
        for end in tunnel.endpoints:
            device, following = (helper, end.host_index) if helper else (end.host_index, 0)
            if not self._hops:
                device = self._place(end)
            for remote in tunnel.remotes:
                proof = (tunnel.local, remote, tunnel.vni, tunnel.port, end.mac)
                yield Route(*proof, tunnel.mac, end.mtu, device, following, tunnel.zero_checksum)

    def _place(self, end: Endpoint) -> int:
        """Of its veth in the devmap."""
        return self.target.endpoints.index(end)

    def _open_peer(self, stack: ExitStack) -> None:
        ns, (first, following) = self.target.nic.ns, self._units.hops
        self._hops = stack.enter_context(Hops(ns, self.target.nic_index, following))
        with netns.entered(ns):
            stack.enter_context(Link(first, self.target.nic_index, bpf.ATTACH_TCX_INGRESS))

    def _open_veths(self, stack: ExitStack) -> None:
        """A veth takes redirected frames only while its peer has NAPI: a program there turns it on."""
        passing = stack.enter_context(bpf.Program(bpf.returning(bpf.XDP_PASS), Kind.XDP, "napi"))
        for end in self.target.endpoints:
            with netns.entered(end.own.ns):
                index = netns.index(end.own.device)
                stack.enter_context(Link(passing.fd, index, bpf.ATTACH_XDP, bpf.XDP_NATIVE))

    def _await_drained(self, unit: Unit) -> None:
        wait_for(lambda: unit.is_drained, lambda: f"the workers to empty their queues: {unit.totals()}")

    def _await_handed_over(self) -> None:
        """Frames are counted as taken before GRO has them: they must get through tc as well."""
        wanted = self.totals().delivered
        try:
            wait_for(lambda: self.peer()["segments"] >= wanted, "the last frames", _LAST_S)
        except OversprayError:
            return  # lost behind us, or in an skb that the kernel did not get memory for
