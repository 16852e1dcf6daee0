"""Offloads that hide from XDP what it must see: off as long as a policy is attached.

A NIC strips VLAN tags before XDP: a frame of any VLAN would look like one of ours. A veth never leaves the
memory, so its far end leaves tags and checksums undone (`skb->vlan_tci`, CHECKSUM_PARTIAL), and an XDP
redirect forgets both: what is of a VLAN gets into a container, and TCP never connects, while a ping passes.
"""

from collections.abc import Sequence

from steering import discover
from steering.errors import OversprayError
from steering.inventory import VETH, Device, Inventory, device, printable
from steering.settings import Feature
from steering.undo import Changes

CHECKSUMS = "tx-checksum-ip-generic"
STRIPPING = ("rx-vlan-hw-parse", "rx-vlan-stag-hw-parse")
UNDONE = (CHECKSUMS, "tx-vlan-hw-insert", "tx-vlan-stag-hw-insert")
"""Names as the kernel has them: `ethtool -k` calls them rx-vlan-offload, tx-checksumming, tx-vlan-offload."""


def put_off(changes: Changes, found: Inventory, nic: Device) -> list[str]:
    """Have them off until the changes are put back; what is said of it, a line each, where any was on."""
    if nic.kind != VETH:
        return _off(changes, nic, STRIPPING, f"{nic}")
    end = far_end(found, nic)
    if end is None:
        return [
            f"the far end of {printable(nic.name)} is out of reach: type"
            " 'ethtool -K DEVICE tx off txvlan off' there, or TCP does not connect"
        ]
    return _off(changes, end, UNDONE, f"{end}, the far end of {printable(nic.name)}")


def far_end(found: Inventory, nic: Device) -> Device | None:
    """A veth's other end; None where it is none, or that is in a namespace out of reach."""
    view = found.views.get(nic.namespace.inode)
    link = view.links.get(nic.index) if view else None
    if view is None or link is None or link.kind != VETH:
        return None
    there = discover.meant(found, view, link.lower_nsid)
    end = there.links.get(link.lower) if there else None
    return device(there, end) if there and end else None


def _off(changes: Changes, at: Device, names: Sequence[str], called: str) -> list[str]:
    space = at.namespace.name or at.namespace.path
    done, refused = [], []
    for name in names:
        try:
            if changes.set(space, Feature(at.name, name), "off"):
                done.append(name)
        except OversprayError as error:
            refused.append(f"{called}: {error}: XDP will not see all that it must")
    said = f"off at {called}, meanwhile: {', '.join(done)}: XDP would not see what they leave undone"
    return [said] * bool(done) + refused
