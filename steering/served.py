"""Which overlays behind a NIC are served, and what the datapath is told of them. Asks an inventory alone."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from steering.chosen import through
from steering.errors import BadInput
from steering.inventory import Device, Inventory, Namespace, Overlay, View
from steering.netns import OWN
from steering.target import Endpoint, Place, Target, Tunnel


@dataclass(frozen=True)
class Key:
    """What tells one overlay from another for as long as it is there."""

    vni: int
    port: int
    inode: int
    """Of the tunnel's namespace."""


@dataclass(frozen=True)
class Served:
    """An overlay behind the NIC; served, or left to the stock path."""

    key: Key
    tunnel: Tunnel | None
    """None: it is left alone."""
    reason: str = ""
    """Why that is so."""
    bypassed: tuple[str, ...] = ()
    """Rules that its packets may skip, and do."""

    def refused(self, reason: str) -> "Served":
        """The same, left alone."""
        return replace(self, tunnel=None, reason=reason, bypassed=())

    def lines(self) -> tuple[str, ...]:
        """For people."""
        name = f"VNI {self.key.vni}"
        if self.tunnel is None:
            return (f"not serving {name}: {self.reason}",)
        ends = [f"{each.mac} ({Path(each.own.ns).name or 'here'})" for each in self.tunnel.endpoints]
        containers = ", ".join(ends) or "no container yet"
        remotes = ", ".join(self.tunnel.remotes) or "nobody yet"
        return (
            *(f"bypassed for {name}: {each}" for each in self.bypassed),
            f"serving {name} from {remotes}: {containers}",
        )


def behind(inventory: Inventory, nic: Device, vni: int | None, bypass: bool) -> tuple[Served, ...]:
    """The overlays that come in through a NIC; with ``vni`` those of that number alone.

    With ``bypass`` their packets may skip rules, where there are some.
    """
    own = inventory.own
    found = [each for each in through(inventory, nic) if vni in (None, each.vni)]
    return tuple(_judged(own, inventory.views[each.device.namespace.inode], each, bypass) for each in found)


def require_some(inventory: Inventory, nic: Device, vni: int | None, found: Iterable[Served]) -> None:
    """BadInput where there is no such overlay, or none of them can be served; it says why of each."""
    reasons = []
    for each in found:
        if each.tunnel:
            return
        reasons.append(f"VNI {each.key.vni}: {each.reason}")
    if reasons:
        raise BadInput("; ".join(reasons))
    known = ", ".join(str(each.vni) for each in through(inventory, nic))
    raise BadInput(f"no overlay with VNI {vni} behind '{nic.name}': choose from {known}")


def target_of(inventory: Inventory, nic: Device, found: Iterable[Served]) -> Target:
    """What the datapath is to serve."""
    place = Place(key(inventory.own, nic.namespace), nic.name)
    return Target(place, nic.index, nic.mac, tuple(each.tunnel for each in found if each.tunnel))


def key_of(overlay: Overlay) -> Key:
    """What tells it from others."""
    return Key(overlay.vni, overlay.port, overlay.device.namespace.inode)


def key(own: Namespace, space: Namespace) -> str:
    """What `steering.netns` enters a namespace by: its name, or its file's path."""
    return OWN if space.inode == own.inode else space.name or space.path


def _judged(own: Namespace, view: View, overlay: Overlay, bypass: bool) -> Served:
    tunnel = Tunnel(
        place=Place(key(own, view.space), overlay.device.name),
        mac=overlay.device.mac,
        vni=overlay.vni,
        port=overlay.port,
        local=overlay.local,
        remotes=tuple(each for each in overlay.remotes if (":" in each) == (":" in overlay.local)),
        endpoints=tuple(_endpoints(own, view, overlay)),
        zero_checksum=overlay.zero_checksum,
    )
    served = Served(key_of(overlay), tunnel, bypassed=overlay.skipped)
    reason = _reason(overlay, bypass)
    return served.refused(reason) if reason else served


def _reason(overlay: Overlay, bypass: bool) -> str:
    """Why its frames can't be proven, have no container to go to, or would skip rules; else nothing."""
    if overlay.bridge is None:
        return "its tunnel is on no bridge, and frames go to containers behind one alone"
    if not overlay.local:
        return "neither its device nor a route tells our VTEP's address: wait for a peer"
    if overlay.skipped and not bypass:
        return f"{'; '.join(overlay.skipped)}: add --bypass if that may be"
    return ""


def _endpoints(own: Namespace, view: View, overlay: Overlay) -> list[Endpoint]:
    bridge = overlay.bridge.mtu if overlay.bridge else 0
    return [
        Endpoint(
            mac=port.peer.mac,
            own=Place(key(own, port.peer.namespace), port.peer.name),
            host_index=port.index,
            mtu=min(view.links[port.index].mtu, bridge),
        )
        for port in overlay.ports
        if port.peer is not None and port.index in view.links
    ]
