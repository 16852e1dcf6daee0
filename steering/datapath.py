"""Attach, change and detach the datapath of one NIC.

What runs in the kernel hangs on bpf links: when this process dies they go, and the host forwards as
stock does. What else must be changed goes through :class:`steering.undo.Changes`.
"""

import errno
import fcntl
import os
import platform
import resource
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from steering import bpf
from steering.after_gro import AfterGro
from steering.closing import Closing
from steering.errors import BadInput, OversprayError
from steering.netns import entered
from steering.overlay import Endpoint, Overlay
from steering.plan import Plan
from steering.policy import Need
from steering.routes import Delivery, Routes
from steering.settings import GroSize
from steering.undo import Changes
from steering.unit import Programs, Totals, Unit

_DRAIN_SECONDS = 2.0
_KEPT = 4
"""Units that stay compiled, for swaps back to them; each has worker threads and maps of its own."""

_NUMBERS, _SPARE = 1 << 16, 64
"""File numbers up to which the table is worth its memory, and how many datapaths a process has."""


class Datapath(Closing):
    """The datapath of one NIC, attached from construction until :meth:`close`.

    ``programs`` keeps what was compiled beyond this datapath's life, for one that is attached again
    and again.

    Raises:
        OversprayError: the device does not take native XDP, or has a program already.
    """

    def __init__(
        self, overlay: Overlay, plan: Plan, changes: Changes, programs: Programs | None = None
    ) -> None:
        self._programs = programs or Programs()
        self._own_programs = programs is None
        self._overlay = overlay
        self._retired = Totals()
        self._used: dict[str, tuple[Unit, Totals]] = {}
        self._links: list[int] = []
        self._tails: dict[Unit, int] = {}
        self._backs: dict[Endpoint, int] = {}
        self._routes: Routes | None = None
        self._after_gro = AfterGro(overlay, changes)
        try:
            _raise_if_unreachable(plan)
            self.unit = self._take_up(plan)
            self.peer = self._programs.peer(0)
            self._peer_before = self._count_peer()
            if plan.gro:
                large = GroSize(overlay.nic)
                changes.set(overlay.nic_ns.found_at, {large: [plan.gro, plan.gro]})
            self._routes = Routes(overlay, plan.delivery, changes, self._programs.peer)
            self._raise_if_all_refused()
            self._fill(self.unit, plan)
            self._after_gro.hand_to(plan.cores if plan.rps else ())
            self._attach()
        except BaseException:
            self.close()
            raise

    @property
    def routes(self) -> Routes:
        """Where the frames of each endpoint go."""
        assert self._routes is not None
        return self._routes

    @property
    def plan(self) -> Plan:
        """What is attached."""
        return self.unit.plan

    @property
    def secret(self) -> int:
        """By which our programs know what we have stripped."""
        return self._programs.secret

    @property
    def nic(self) -> tuple[str, int]:
        """Path of the NIC's namespace, and its number there."""
        return self._overlay.nic_ns.path, self._overlay.nic_ifindex

    @property
    def on_nic(self) -> frozenset[int]:
        """Ids of our own tc programs on the NIC."""
        tails = [unit.tail for unit in self._tails if unit.tail is not None]
        peer = self.peer.load("peer", bpf.PROG_TYPE_SCHED_CLS)
        return frozenset(bpf.prog_info(program)[0] for program in (peer, *tails))

    def swap(self, plan: Plan) -> None:
        """Put another policy (or other workers) in place, atomically and without losing a packet.

        The delivery stays. Raises what compiling and loading raise; what was attached stays then.
        """
        self.check_swap(plan)
        if plan.key == self.plan.key:
            self.set(plan.knobs)
            return
        fresh = self._take_up(plan)
        _wait_until_drained(fresh)  # of its last time: routes have changed since
        self._fill(fresh, plan)
        self._attach_tail(fresh)
        bpf.link_update(self._links[-1], fresh.program)
        old, self.unit = self.unit, fresh
        self._after_gro.hand_to(plan.cores if plan.rps else ())
        self._follow_backs()
        _wait_until_drained(old)
        self._detach_tail(old)
        self._let_go()

    def check_swap(self, plan: Plan) -> None:
        """BadInput for a plan that can't take the place of the attached one."""
        if plan.delivery is not self.plan.delivery:
            raise BadInput(f"a swap keeps the delivery ({self.plan.delivery}): detach and attach")
        if plan.gro != self.plan.gro:
            raise BadInput(f"a swap keeps the size of GRO (gro={self.plan.gro}): detach and attach")

    def set(self, knobs: Mapping[str, int]) -> None:
        """Change knobs of the policy (all of them are given) while packets flow."""
        self.unit.set_knobs(knobs)
        self.unit.plan = replace(self.plan, knobs=dict(knobs))

    def update(self, overlay: Overlay) -> None:
        """Follow the overlay: serve what came, stop serving what went."""
        self._overlay = overlay
        self.routes.update(overlay)
        self.unit.route(overlay, self.routes)
        self._follow_backs()
        _wait_until_drained(self.unit)  # frames on their way may be for who went
        self.routes.tidy()

    def totals(self) -> Totals:
        """Everything counted since attaching, over all swaps."""
        total = self._retired
        for unit, before in self._used.values():
            total = total + (unit.totals() - before)
        return replace(total, peer=self._count_peer() - self._peer_before)

    def close(self) -> None:
        """Detach; the next packet takes the stock path. Packets on their way still arrive."""
        if self._links:
            os.close(self._links.pop())  # XDP first: then nothing new needs the rest
            _wait_until_drained(self.unit)
            time.sleep(0.001)  # the last bulk is in GRO when it is counted out
            self._after_gro.drain()
        while self._links:
            os.close(self._links.pop())
        for unit in list(self._tails):
            self._detach_tail(unit)
        while self._backs:
            os.close(self._backs.popitem()[1])
        if self._routes is not None:
            self._routes.close()
        if self._own_programs:
            self._programs.close()

    def _take_up(self, plan: Plan) -> Unit:
        """The unit of a plan; what it counted for others before does not count here."""
        unit = self._programs.unit(plan)
        before = self._used.pop(plan.key, None)
        self._used[plan.key] = before or (unit, unit.totals())  # the last of them: used last
        return unit

    def _let_go(self) -> None:
        """Close the units that were not used for the longest."""
        for key in list(self._used)[:-_KEPT]:
            unit, before = self._used.pop(key)
            self._retired += unit.totals() - before
            self._programs.discard(unit)

    def _fill(self, unit: Unit, plan: Plan) -> None:
        unit.plan = plan
        unit.set_knobs(plan.knobs)
        unit.route(self._overlay, self.routes)

    def _attach_tail(self, unit: Unit) -> None:
        """Ahead of the delivery, and before the first packet of the unit comes by."""
        if unit.tail is None:
            return
        with entered(self._overlay.nic_ns.path):
            index = self._overlay.nic_ifindex
            kind, flags = bpf.ATTACH_TCX_INGRESS, bpf.BEFORE_ALL
            self._tails[unit] = bpf.link_create(unit.tail, index, kind, flags)

    def _detach_tail(self, unit: Unit) -> None:
        if unit in self._tails:
            os.close(self._tails.pop(unit))

    def _follow_backs(self) -> None:
        """The unit's program sees what comes out of the containers that have a way back."""
        program = self.unit.back
        wanted = {end for end, route in self.routes.table.items() if route.home}
        for end in self._backs.keys() - (wanted if program is not None else set()):
            os.close(self._backs.pop(end))
        if program is None:
            return
        for end in wanted:
            if end in self._backs:
                self._renew_back(end, program)
                continue
            with suppress(OversprayError), entered(end.host_ns.path):  # it may just have gone
                index = end.host_ifindex
                self._backs[end] = bpf.link_create(program, index, bpf.ATTACH_TCX_INGRESS)

    def _renew_back(self, end: Endpoint, program: int) -> None:
        try:
            bpf.link_update(self._backs[end], program)
        except bpf.BpfError as error:
            if error.errno != errno.ENOLINK:
                raise
            os.close(self._backs.pop(end))  # its device has just gone, the next look will tell

    def _count_peer(self) -> Counter[str]:
        return Counter(self.peer.total("peer_counters", "peer_counter"))

    def _raise_if_all_refused(self) -> None:
        refused = self.routes.refused
        if refused and not self.routes.table:
            raise OversprayError(f"no container can be served: {next(iter(refused.values()))}")

    def _attach(self) -> None:
        peer = self.peer.load("peer", bpf.PROG_TYPE_SCHED_CLS)
        nic, index = self._overlay.nic, self._overlay.nic_ifindex
        with entered(self._overlay.nic_ns.path):
            try:
                if bpf.has_tcx():  # else nothing is delivered that way: see the routes
                    self._links.append(bpf.link_create(peer, index, bpf.ATTACH_TCX_INGRESS))
                self._attach_tail(self.unit)
                self._follow_backs()
                # Making a link takes milliseconds. A controller that is killed meanwhile must not
                # leave its NIC stage behind a link that has not got its number yet.
                self._links.append(_let_go_first(bpf.link_passing(index)))
                bpf.link_update(self._links[-1], self.unit.program)
            except bpf.BpfError as error:
                raise OversprayError(_why_not(nic, error)) from None


def _let_go_first(link: int) -> int:
    """The same link under the highest number.

    The kernel lets go of a killed process's files from the highest number down, and takes some
    milliseconds for each program. Were the deliveries gone before the NIC stage, it would go on
    stripping frames for nobody: a tenth of a second of silence was seen.
    """
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    highest = _NUMBERS if limit == resource.RLIM_INFINITY else min(limit, _NUMBERS)
    try:
        return fcntl.fcntl(link, fcntl.F_DUPFD_CLOEXEC, max(0, highest - _SPARE))
    finally:
        os.close(link)


def _raise_if_unreachable(plan: Plan) -> None:
    """What the delivery `peer` stands on is younger than the rest."""
    if plan.delivery is not Delivery.PEER or bpf.has_tcx():
        return
    policy = plan.policy
    instead = "choose another policy" if Need.CLEAR in policy.needs else "add deliver=veth"
    raise OversprayError(
        f"policy '{policy.name}' by the delivery 'peer': it needs tcx links (Linux 6.6), this is "
        f"{platform.release()}: {instead}"
    )


def _why_not(nic: str, error: bpf.BpfError) -> str:
    reasons = {
        16: "another XDP program is attached: detach it first",
        95: "its driver has no native XDP: choose another device",
        34: "its MTU is too large for native XDP: lower it",
        22: "the kernel refused (MTU too large for native XDP?)",
    }
    return f"attach to '{nic}': {reasons.get(error.errno, os.strerror(error.errno))}"


def _wait_until_drained(unit: Unit) -> None:
    """Wait for what is on its way to the workers now; one that stands still is not waited for."""
    sent = unit.totals().sent
    deadline = time.monotonic() + _DRAIN_SECONDS
    while unit.totals().gone < sent and time.monotonic() < deadline:
        time.sleep(0.001)
