"""Attach to an overlay that is already there, and follow it: discovery tells what the datapath serves."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from steering import attached, discover
from steering.chosen import choose, through
from steering.closing import Closing
from steering.datapath import Datapath, Units
from steering.errors import BadInput
from steering.events import Events
from steering.hops import remove_stale
from steering.inventory import Device, Inventory, Namespace, Overlay, View
from steering.netns import OWN
from steering.plan import Delivery, Plan
from steering.target import Endpoint, Place, Target, Tunnel

Say = Callable[[str], None]


def overlay_of(inventory: Inventory, nic: Device, vni: int | None) -> Overlay:
    """That VNI's overlay behind the NIC; None: the only one. BadInput where there is none, or several."""
    found = through(inventory, nic)
    named = [each for each in found if vni in (None, each.vni)]
    known = ", ".join(str(each.vni) for each in found)
    if not named:
        raise BadInput(f"no overlay with VNI {vni} behind '{nic.name}': choose from {known}")
    if len(named) > 1:
        raise BadInput(f"'{nic.name}' has {len(named)} overlays behind it: choose --vni from {known}")
    return named[0]


def require_servable(overlay: Overlay, nic: Device, bypass: bool) -> None:
    """BadInput where frames of it can't be proven, have no container to go to, or would skip rules.

    With ``bypass`` they may skip them.
    """
    name = f"VNI {overlay.vni}"
    if nic.xdp:
        raise BadInput(
            f"attach to '{nic.name}': it has an XDP program already ({nic.xdp}): detach that first"
        )
    if overlay.bridge is None:
        raise BadInput(f"{name}: its tunnel is on no bridge, and frames go to containers behind one alone")
    if not overlay.local:
        raise BadInput(f"{name}: neither its device nor a route tells our VTEP's address: wait for a peer")
    if overlay.skipped and not bypass:
        raise BadInput(f"{name}: {'; '.join(overlay.skipped)}: add --bypass if that may be")


def target_of(inventory: Inventory, nic: Device, overlay: Overlay) -> Target:
    """What the datapath is to serve of an overlay: every container behind its bridge, every VTEP it knows."""
    own = inventory.own
    view = inventory.views[overlay.device.namespace.inode]
    tunnel = Tunnel(
        place=Place(key(own, overlay.device.namespace), overlay.device.name),
        mac=overlay.device.mac,
        vni=overlay.vni,
        port=overlay.port,
        local=overlay.local,
        remotes=tuple(each for each in overlay.remotes if (":" in each) == (":" in overlay.local)),
        zero_checksum=overlay.zero_checksum,
    )
    return Target(
        nic=Place(key(own, nic.namespace), nic.name),
        nic_index=nic.index,
        nic_mac=nic.mac,
        tunnel=tunnel,
        endpoints=tuple(_endpoints(own, view, overlay)),
    )


def key(own: Namespace, space: Namespace) -> str:
    """What `steering.netns` enters a namespace by: its name, or its file's path."""
    return OWN if space.inode == own.inode else space.name or space.path


def _endpoints(own: Namespace, view: View, overlay: Overlay) -> list[Endpoint]:
    bridge = overlay.bridge.mtu if overlay.bridge else 0
    return [
        Endpoint(
            mac=port.peer.mac,
            own=Place(key(own, port.peer.namespace), port.peer.name),
            host_ns=key(own, view.space),
            host_index=port.index,
            mtu=min(view.links[port.index].mtu, bridge),
        )
        for port in overlay.ports
        if port.peer is not None and port.index in view.links
    ]


class Attachment(Closing):
    """A policy attached to an overlay behind a NIC, from construction until :meth:`close`. A context manager.

    Raises:
        BadInput: no such NIC or overlay, or one that is not to be served (:func:`require_servable`).
        OversprayError: held by another process, or the kernel refuses.
    """

    def __init__(self, device: str, plan: Plan, vni: int | None = None, bypass: bool = False) -> None:
        if plan.delivery is not Delivery.PEER:
            raise BadInput("deliver=veth needs the containers' own settings changed: choose deliver=peer")
        found = discover.discover()
        self.nic = choose(found, device)
        self.overlay = overlay_of(found, self.nic, vni)
        with ExitStack() as stack:
            stack.enter_context(attached.held(self.nic.namespace.inode, device))
            require_servable(self.overlay, self.nic, bypass)
            self.target = target_of(found, self.nic, self.overlay)
            remove_stale(self.target.nic.ns)
            units = stack.enter_context(Units())
            self.events = stack.enter_context(Events(self.target.nic.ns))
            self.datapath = stack.enter_context(Datapath(self.target, plan, units))
            self._open = stack.pop_all()
        self._took = 0.0

    def refresh(self) -> bool:
        """Look again, and serve what is there now; whether anything had changed.

        BadInput where the overlay is gone: nothing is served then, and all takes the stock path.
        """
        begun = time.monotonic()
        found = discover.discover()
        same = [
            each
            for each in found.overlays
            if (each.vni, each.port, each.device.namespace.inode)
            == (self.overlay.vni, self.overlay.port, self.overlay.device.namespace.inode)
        ]
        view = found.views.get(self.nic.namespace.inode)
        nic = view and view.links.get(self.nic.index)
        if nic is None or not same:
            self.datapath.serve((), None)
            raise BadInput(f"'{self.nic.name}' has no overlay with VNI {self.overlay.vni} any more")
        self.overlay = same[0]
        target = target_of(found, self.nic, self.overlay)
        changed = target != self.target
        if changed:
            self.target = target
            self.datapath.serve(target.endpoints, target.tunnel)
        self._took = time.monotonic() - begun
        return changed

    def follow(self, stop: int, say: Say) -> None:
        """Serve what comes and goes, until the descriptor ``stop`` can be read. Raises as :meth:`refresh`."""
        self._look(say)  # compiling took a while, and only since then are events heard
        while self.events.wait(stop):
            self._look(say)
            # A host where something changes all the time: no more than half of a core for that.
            if self.events.pause(stop, self._took):
                return

    def _look(self, say: Say) -> None:
        if self.refresh():
            say(described(self.target))

    def close(self) -> None:
        """Detach. Closing twice is harmless."""
        self._open.close()


def described(target: Target) -> str:
    """What is served, in one line."""
    assert target.tunnel is not None
    containers = ", ".join(f"{each.mac} ({Path(each.own.ns).name or 'here'})" for each in target.endpoints)
    remotes = ", ".join(target.tunnel.remotes) or "nobody yet"
    return f"serving VNI {target.tunnel.vni} from {remotes}: {containers or 'no container yet'}"
