"""Attach to overlays that are already there, and follow them: discovery tells what the datapath serves."""

import time
from collections.abc import Callable
from contextlib import ExitStack

from steering import attached, discover, served
from steering.chosen import choose
from steering.closing import Closing
from steering.datapath import Datapath, Units
from steering.errors import BadInput, OversprayError
from steering.events import Events
from steering.hops import remove_stale
from steering.inventory import device as device_of
from steering.plan import Delivery, Plan
from steering.served import Served

Say = Callable[[str], None]
_SELDOM_S, _SHARE = 10.0, 0.005
"""Rules make no event, nor does what is in namespaces that the NIC's has no number for: so it looks again
after a while, which may take that share of a core."""


class Attachment(Closing):
    """A policy attached to the overlays behind a NIC, from construction until :meth:`close`.

    ``vni``: serves that overlay alone; else all that can be, also those that come later. With ``bypass``
    packets may skip rules.

    Raises:
        BadInput: no such NIC or overlay, or none that can be served (:mod:`steering.served`).
        OversprayError: held by another process, or the kernel refuses.
    """

    def __init__(self, device: str, plan: Plan, vni: int | None = None, bypass: bool = False) -> None:
        if plan.delivery is not Delivery.PEER:
            raise BadInput("deliver=veth needs the containers' own settings changed: choose deliver=peer")
        self._vni, self._bypass = vni, bypass
        found = discover.discover()
        self.nic = choose(found, device)
        with ExitStack() as stack:
            stack.enter_context(attached.held(self.nic))
            if self.nic.xdp:
                raise BadInput(
                    f"attach to '{device}': it has an XDP program already ({self.nic.xdp}): detach that first"
                )
            self.overlays = served.behind(found, self.nic, vni, bypass)
            served.require_some(found, self.nic, vni, self.overlays)
            target = served.target_of(found, self.nic, self.overlays)
            remove_stale(target.nic.ns, target.nic_index)
            units = stack.enter_context(Units())
            self.events = stack.enter_context(Events(target.nic.ns))
            self.datapath = stack.enter_context(Datapath(target, plan, units))
            self._open = stack.pop_all()
        self._took = 0.0

    def lines(self) -> list[str]:
        """What is served, and what is left alone and why."""
        return [line for each in self.overlays for line in each.lines()]

    def refresh(self) -> bool:
        """Look again, and serve what is there now; whether anything had changed.

        OversprayError where the NIC is gone.
        """
        begun = time.monotonic()
        found = discover.discover()
        view = found.views.get(self.nic.namespace.inode)
        if view is None or self.nic.index not in view.links:
            raise OversprayError(f"'{self.nic.name}' is gone: type 'overspray discover'")
        nic = device_of(view, view.links[self.nic.index])
        before, overlays = self.overlays, served.behind(found, nic, self._vni, self._bypass)
        refused = self.datapath.serve(each.tunnel for each in overlays if each.tunnel)
        self.overlays = tuple(
            each.refused(refused[each.tunnel]) if each.tunnel in refused else each for each in overlays
        )
        self._took = time.monotonic() - begun
        return self.overlays != before

    def follow(self, stop: int, say: Say) -> None:
        """Serve what comes and goes, until the descriptor ``stop`` can be read. Raises as :meth:`refresh`."""
        self._look(say)  # compiling took a while, and only since then are events heard
        while self.events.wait(stop, max(_SELDOM_S, self._took / _SHARE)):
            self._look(say)
            # A host where something changes all the time: no more than half of a core for that.
            if self.events.pause(stop, self._took):
                return

    def _look(self, say: Say) -> None:
        before = self.overlays
        if self.refresh():
            for line in changes(before, self.overlays):
                say(line)

    def close(self) -> None:
        """Detach. Closing twice is harmless."""
        self._open.close()


def changes(before: tuple[Served, ...], now: tuple[Served, ...]) -> list[str]:
    """What to say of overlays that came, changed or went."""
    there = {each.key for each in now}
    lines = [f"VNI {each.key.vni} is gone" for each in before if each.key not in there]
    lines += [line for each in now if each not in before for line in each.lines()]
    if not any(each.tunnel for each in now):
        lines.append("nothing is served: waiting for an overlay")
    return lines
