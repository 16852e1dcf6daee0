"""Which NIC is meant by a name, and which overlays come in through it: pure functions of an inventory."""

from collections.abc import Iterable

from steering.errors import BadInput, unknown
from steering.inventory import (
    BRIDGE,
    COLLECTING,
    VETH,
    Device,
    Inventory,
    Link,
    Overlay,
    View,
    below,
    device,
    printable,
)

_WORDS = {"vxlan": "a VXLAN device", "vlan": "a VLAN device", BRIDGE: "a bridge"}
_NOT_FOUND = "type 'overspray discover' for all overlays of this host"


def choose(inventory: Inventory, name: str) -> Device:
    """The NIC of that name: in the caller's namespace, or else in the only other one that has overlays on it.

    Raises:
        BadInput: no such device, no NIC, or no overlay comes in through it; the line says what to name.
    """
    view, link = _place(inventory, name)
    nics = nics_of(inventory, view, link)
    nic = device(view, link)
    if nic not in nics and not link.loopback:
        raise BadInput(f"'{name}' is {_what(view, link)}, not a NIC: {_advice(inventory, nics)}")
    if not through(inventory, nic):
        with_some = dict.fromkeys(each for overlay in inventory.overlays for each in overlay.nics)
        where = _advice(inventory, with_some) if with_some else "this host has no VXLAN device on a NIC"
        raise BadInput(f"'{name}' has no overlay behind it: {where}")
    return nic


def through(inventory: Inventory, nic: Device) -> tuple[Overlay, ...]:
    """The overlays whose frames come in through a NIC, or may, where nothing says through which."""
    return tuple(
        each
        for each in inventory.overlays
        if nic in each.nics or (not each.nics and each.underlay_namespace == nic.namespace)
    )


def nics_of(inventory: Inventory, view: View, link: Link) -> tuple[Device, ...]:
    """The NICs before a device: its own overlay's where it belongs to one, itself where it is a NIC."""
    found: dict[Device, None] = {}
    part = device(view, link)
    for overlay in inventory.overlays:
        ports = {each.index for each in overlay.ports} if overlay.device.namespace == view.space else set()
        if part in (overlay.device, overlay.bridge) or (link.index in ports and link.kind == VETH):
            found.update(dict.fromkeys(overlay.nics))
    if not found and not link.vxlan:
        found.update((device(at, each), None) for at, each in below(inventory.views, view, link.index))
    return tuple(found)


def _place(inventory: Inventory, name: str) -> tuple[View, Link]:
    own = inventory.views.get(inventory.own.inode, View(inventory.own, {}))
    for link in own.links.values():
        if link.name == name:
            return own, link
    elsewhere = [
        (view, link)
        for view in inventory.views.values()
        for link in view.links.values()
        if link.name == name and view is not own and _belongs(inventory, device(view, link))
    ]
    if not elsewhere:
        links = own.links.values()
        nics = [printable(link.name) for link in links if device(own, link) in nics_of(inventory, own, link)]
        if not nics:
            raise BadInput(f"unknown device '{name}': this network namespace has no NIC: {_NOT_FOUND}")
        raise unknown("device", name, nics)
    if len(elsewhere) > 1:
        spaces = ", ".join(sorted(str(view.space) for view, _ in elsewhere))
        raise BadInput(
            f"device '{name}' is in several other network namespaces: type 'ip netns exec NAME overspray"
            f" discover {name}' with one of {spaces}"
        )
    return elsewhere[0]


def _belongs(inventory: Inventory, part: Device) -> bool:
    """Whether it is a part of some overlay on this side of the containers."""
    return any(
        part in (overlay.device, overlay.bridge, *overlay.underlay, *overlay.nics)
        for overlay in inventory.overlays
    )


def _what(view: View, link: Link) -> str:
    if link.kind == VETH and (master := view.links.get(link.master)):
        return f"a port of the bridge '{printable(master.name)}'"
    if link.kind in COLLECTING and link.kind not in _WORDS:
        return f"a {link.kind} of several devices"
    return _WORDS.get(link.kind, f"a {link.kind} device")


def _advice(inventory: Inventory, nics: Iterable[Device]) -> str:
    """What to type, for one of them at least."""
    here = [printable(each.name) for each in nics if each.namespace.inode == inventory.own.inode]
    if here:
        return f"type 'overspray discover {here[0]}'" + (f", or {', '.join(here[1:])}" if here[1:] else "")
    for each in nics:
        if each.namespace.name:
            name = printable(each.name)
            return f"type 'ip netns exec {each.namespace} overspray discover {name}'"
        return f"choose {each}, from inside that network namespace"
    return f"no NIC is known to lead to it: {_NOT_FOUND}"
