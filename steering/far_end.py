"""The far end of a NIC that is a veth, as between namespaces of one machine.

What is sent through a veth never leaves the memory, so it leaves checksums undone (CHECKSUM_PARTIAL). An XDP
redirect loses that mark, and the receiver finds a wrong checksum: a ping passes, TCP never connects. So as
long as something redirects what comes in, checksums are done at the far end.
"""

from steering import discover
from steering.inventory import VETH, Device, Inventory, device, printable
from steering.settings import Feature
from steering.undo import Changes

CHECKSUMS = "tx-checksum-ip-generic"
"""What ethtool has as ``tx-checksumming`` of a veth."""


def of(found: Inventory, nic: Device) -> Device | None:
    """The device at the other end; None where there is none, or it is in a namespace out of reach."""
    view = found.views.get(nic.namespace.inode)
    link = view.links.get(nic.index) if view else None
    if view is None or link is None or link.kind != VETH:
        return None
    there = discover.meant(found, view, link.lower_nsid)
    end = there.links.get(link.lower) if there else None
    return device(there, end) if there and end else None


def with_checksums(changes: Changes, found: Inventory, nic: Device) -> str:
    """Have checksums done there until the changes are put back: what is said of it; empty where nothing is
    to be done. Raises as `Changes.set`."""
    if nic.kind != VETH:
        return ""
    end = of(found, nic)
    if end is None:
        return (
            f"the far end of {printable(nic.name)} is out of reach: if TCP does not connect,"
            " type 'ethtool -K DEVICE tx off' there"
        )
    space = end.namespace.name or end.namespace.path
    if not changes.set(space, Feature(end.name, CHECKSUMS), "off"):
        return ""
    return (
        f"tx-checksumming of {end}, the far end of {printable(nic.name)}, is off meanwhile: else TCP breaks"
    )
