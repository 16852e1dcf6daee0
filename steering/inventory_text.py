"""An inventory for people, as a tree, and for programs."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from steering.chosen import through
from steering.inventory import NO_MAC, Device, Forward, Inventory, Namespace, Overlay, Port, printable

_MOST_MACS = 4
"""Of one VTEP; more are counted."""


@dataclass
class Node:
    """A line of the tree and what hangs on it."""

    text: str
    under: list["Node"] = field(default_factory=list)


def as_dict(inventory: Inventory, nic: Device | None = None) -> dict[str, Any]:
    """For JSON: with a NIC, the overlays that come in through it, else all."""
    chosen = through(inventory, nic) if nic else inventory.overlays
    return {
        "namespace": asdict(inventory.own),
        "device": asdict(nic) if nic else None,
        "overlays": [asdict(each) for each in chosen],
        "remarks": list(inventory.remarks),
    }


def as_text(inventory: Inventory, nic: Device | None = None) -> str:
    """A tree for each NIC that overlays come in through, or for the one named."""
    lines = [line for root in _roots(inventory, nic) for line in _lines(root)]
    if not lines:
        lines = [f"No overlay was found in {len(inventory.views)} network namespaces."]
    return "\n".join([*lines, *(f"note: {printable(each)}" for each in inventory.remarks)])


def _roots(inventory: Inventory, nic: Device | None) -> Iterator[Node]:
    own, overlays = inventory.own, inventory.overlays
    if nic:
        yield _nic(own, nic, through(inventory, nic))
        return
    for each in dict.fromkeys(each for overlay in overlays for each in overlay.nics):
        yield _nic(own, each, [overlay for overlay in overlays if each in overlay.nics])
    if lost := [_overlay(own, overlay) for overlay in overlays if not overlay.nics]:
        yield Node("through a NIC that is not known", lost)


def _nic(own: Namespace, nic: Device, overlays: Iterable[Overlay]) -> Node:
    return Node(f"{_named(own, nic)}: {_about(nic)}", [_overlay(own, each) for each in overlays])


def _named(own: Namespace, device: Device) -> str:
    """Without its namespace where that is the caller's."""
    return printable(device.name) if device.namespace == own else str(device)


def _overlay(own: Namespace, overlay: Overlay) -> Node:
    device = overlay.device
    return Node(
        f"VNI {overlay.vni}, UDP port {overlay.port}: {_named(own, device)}, {_about(device)}",
        [
            Node(_vteps(overlay)),
            *_forwards(overlay.forwards),
            *_bridge(own, overlay),
            *(Node(f"note: {each}") for each in overlay.remarks),
        ],
    )


def _vteps(overlay: Overlay) -> str:
    here = f"VTEP here {overlay.local}" if overlay.local else "VTEP here: any address"
    if overlay.local and not overlay.bound:
        here += " by its routes, or any other address"
    learning = ", and learns more" if overlay.learning else ""
    return f"{here}; there {', '.join(overlay.remotes) or 'none known'}{learning}"


def _forwards(forwards: Iterable[Forward]) -> Iterator[Node]:
    by_remote: dict[str, list[str]] = {}
    for each in forwards:
        by_remote.setdefault(each.remote or "a next-hop group", []).append(each.mac)
    for remote, macs in by_remote.items():
        named = ["all that is unknown" if mac == NO_MAC else mac for mac in macs]
        told = ", ".join(named) if len(named) <= _MOST_MACS else f"{len(named)} MAC addresses"
        yield Node(f"behind {remote}: {told}")


def _bridge(own: Namespace, overlay: Overlay) -> Iterator[Node]:
    if overlay.bridge:
        ports = [Node(_port(own, each)) for each in overlay.ports]
        count = f"{len(ports)} port{'' if len(ports) == 1 else 's'}"
        yield Node(f"bridge {printable(overlay.bridge.name)}, {count} beside the tunnel", ports)


def _port(own: Namespace, port: Port) -> str:
    if not port.peer:
        return f"{printable(port.name)} ({port.kind or 'hardware'})"
    space = port.peer.namespace
    inside = f" (process {space.pid})" if space.pid and f"process {space.pid}" != str(space) else ""
    return f"{printable(port.name)} to {_named(own, port.peer)}{inside}: {_about(port.peer)}"


def _about(device: Device) -> str:
    told = [*device.addresses, device.mac, f"MTU {device.mtu}"]
    if device.active_rx_queues is not None:
        told.append(f"{device.active_rx_queues} of {device.rx_queues} rx queues")
    if device.gro is not None:
        told.append(f"GRO {'on' if device.gro else 'off'}")
    if device.xdp:
        told.append(f"XDP {device.xdp}")
    return ", ".join(each for each in told if each)


def _lines(node: Node) -> Iterator[str]:
    yield node.text
    yield from _branches(node.under, "")


def _branches(nodes: Sequence[Node], indent: str) -> Iterator[str]:
    for at, node in enumerate(nodes):
        last = at == len(nodes) - 1
        yield f"{indent}{'└─ ' if last else '├─ '}{node.text}"
        yield from _branches(node.under, indent + ("   " if last else "│  "))
