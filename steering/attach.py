"""Attach to overlays that are already there, and follow them: discovery tells what the datapath serves."""

import time
from contextlib import ExitStack
from dataclasses import dataclass

from pyroute2 import IPRoute

from steering import attached, cores, discover, links, netns, offloads, served, stock
from steering.choice import Choice
from steering.chosen import choose
from steering.closing import Closing
from steering.datapath import Datapath, Units
from steering.errors import BadInput, OversprayError
from steering.events import Events
from steering.hops import remove_stale
from steering.inventory import Inventory
from steering.inventory import device as device_of
from steering.plan import Delivery, Plan
from steering.served import Served
from steering.settings import Setting
from steering.target import Place
from steering.undo import Changes


@dataclass(frozen=True)
class How:
    """How one attaches, whatever the policy."""

    vni: int | None = None
    """Serve that overlay alone; None: all that can be, also those that come later."""
    bypass: bool = False
    """Packets may skip rules."""
    generic: bool = False
    """By generic XDP, which makes an skb first and is slow, but is there on every device."""
    force: bool = False
    """Another's XDP program on the NIC is taken off meanwhile (`steering.controller`)."""
    held: bool = False
    """Who attaches holds the NIC already (:func:`steering.attached.held`)."""


class Attachment(Closing):
    """A policy attached to the overlays behind a NIC, from construction until :meth:`close`.

    Raises:
        BadInput: no such NIC or overlay, or none that can be served (:mod:`steering.served`).
        OversprayError: held by another process, or the kernel refuses.
    """

    def __init__(self, device: str, choice: Choice, how: How) -> None:
        self.how = how
        plan = self._planned(choice)
        if plan.delivery is not Delivery.PEER:
            raise BadInput("deliver=veth needs the containers' own settings changed: choose deliver=peer")
        found = discover.discover()
        self.nic = choose(found, device)
        with ExitStack() as stack:
            if not how.held:
                stack.enter_context(attached.held(self.nic))
            if self.nic.xdp:
                raise BadInput(
                    f"attach to '{device}': it has an XDP program already ({self.nic.xdp}): detach that"
                    " first, or add --force, which puts it back in the end"
                )
            self.bypassed = self._rules()
            if self.bypassed and not how.bypass:
                raise BadInput(f"attach to '{device}': {self.bypassed}: add --bypass if that may be")
            self.overlays = served.behind(found, self.nic, how.vni, how.bypass)
            served.require_some(found, self.nic, how.vni, self.overlays)
            target = served.target_of(found, self.nic, self.overlays)
            remove_stale(target.nic.ns, target.nic_index)
            kept = stack.enter_context(Changes())
            # Generic XDP works with an skb, which keeps the marks.
            self._offloads = [] if how.generic else offloads.put_off(kept, found, self.nic)
            units = stack.enter_context(Units())
            self.events = stack.enter_context(Events(target.nic.ns))
            self.datapath = stack.enter_context(Datapath(target, plan, units, how.generic))
            # After the program, without which nothing may poll a NIC: threads that do have their cores set.
            self._changes = stack.enter_context(Changes())
            self._set: tuple[tuple[str, Setting, str], ...] = ()
            self._set_up(choice, plan)
            self._open = stack.pop_all()
        self._found = found
        self.took_s = 0.0
        """The last :meth:`refresh`."""

    def swap(self, choice: Choice) -> None:
        """Another policy, without losing a frame, and other coalescing. Raises as `Datapath.swap`, and where
        the NIC can't coalesce so; what was attached stays then."""
        plan = self._planned(choice)
        before = self.choice, self.datapath.plan
        self._set_up(choice, plan)
        try:
            self.datapath.swap(plan)
        except BaseException:
            self._set_up(*before)
            raise

    def _planned(self, choice: Choice) -> Plan:
        """Raises BadInput as `Choice.plan`, and where the mode of XDP forbids it."""
        plan = choice.plan()
        if plan.stack and self.how.generic:
            raise BadInput("stack= with --generic: RPS would move packets before XDP has them: leave one out")
        return plan

    def _set_up(self, choice: Choice, plan: Plan) -> None:
        """Have the NIC's settings as found, but for what that choice needs."""
        space = self.nic.namespace
        # By a name that holds wherever the journal is read, and after this process has ended.
        nic = Place(space.name or space.path, self.nic.name)
        wanted = tuple(stock.coalescing_of(nic, choice.coalescing, cores.usable()[0], plan.rps))
        if wanted != self._set:
            before, self._set = self._set, ()
            try:
                self._change(wanted)
            except BaseException:
                self._change(before)
                raise
        self.choice = choice

    def _change(self, wanted: tuple[tuple[str, Setting, str], ...]) -> None:
        """These, and nothing else."""
        self._changes.close()
        try:
            for each in wanted:
                self._changes.set(*each)
        except BaseException:
            self._changes.close()
            raise
        self._set = wanted

    def lines(self) -> list[str]:
        """What is served, and what is left alone and why."""
        own = [f"bypassed on {self.nic.name}: {self.bypassed}"] * bool(self.bypassed)
        own += self._offloads
        return own + [line for each in self.overlays for line in each.lines()]

    def _rules(self) -> str:
        """Somebody's tc on the NIC itself; to be asked before ours is there."""
        with netns.entered(self.nic.namespace.path), IPRoute() as ip:
            found = links.tc(ip, [self.nic.index])[self.nic.index]
        return f"tc on it ({', '.join(found)}) would see packets without their tunnel" if found else ""

    def refresh(self, quick: bool = False) -> list[str]:
        """Look again, and serve what is there now; what has changed, for people.

        A ``quick`` look believes that inside known containers nothing has changed.
        OversprayError where the NIC is gone.
        """
        begun = time.monotonic()
        found = discover.discover(self._found if quick else None)
        if self._is_doubtful(found, quick):
            found = discover.discover()
        self._found = found
        view = found.views.get(self.nic.namespace.inode)
        if view is None or self.nic.index not in view.links:
            raise OversprayError(f"'{self.nic.name}' is gone: type 'overspray discover'")
        nic = device_of(view, view.links[self.nic.index])
        before, overlays = self.overlays, served.behind(found, nic, self.how.vni, self.how.bypass)
        refused = self.datapath.serve(each.tunnel for each in overlays if each.tunnel)
        self.overlays = tuple(
            each.refused(refused[each.tunnel]) if each.tunnel in refused else each for each in overlays
        )
        self.took_s = time.monotonic() - begun
        return changes(before, self.overlays)

    def _is_doubtful(self, found: Inventory, quick: bool) -> bool:
        """Whether something is missing, for what vanishes while it is read is left out.

        After a quick look also a port's other end: a new container may have the number of an old one.
        """
        keys = {served.key_of(each) for each in found.overlays}
        return (
            self.nic.namespace.inode not in found.views
            or any(each.tunnel and each.key not in keys for each in self.overlays)
            or (quick and any(port.peer is None for each in found.overlays for port in each.ports))
        )

    def close(self) -> None:
        """Detach. Closing twice is harmless."""
        self._open.close()


def changes(before: tuple[Served, ...], now: tuple[Served, ...]) -> list[str]:
    """What to say of overlays that came, changed or went."""
    there = {each.key for each in now}
    lines = [f"VNI {each.key.vni} is gone" for each in before if each.key not in there]
    lines += [line for each in now if each not in before for line in each.lines()]
    if before != now and not any(each.tunnel for each in now):
        lines.append("nothing is served: waiting for an overlay")
    return lines
