"""Finds overlays on the running system: every namespace is looked into once, the ones that matter again.

Changes nothing. What vanishes while it is read is left out.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from steering import doctor, ipsec, links, namespaces, netns, overlays, rules
from steering.inventory import STACKED, Inventory, Link, Namespace, View, elsewhere

_GONE = {errno.ENODEV, errno.ENOENT, errno.ESRCH, errno.ENXIO, errno.EACCES}
"""Said of what has vanished since it was listed; EACCES: of the way through a process that is ending."""


def discover(before: Inventory | None = None) -> Inventory:
    """All overlays of this host, as they are now. Needs root.

    With ``before``, what a container's own namespace had then is believed still: that is quick, and right
    but for what has changed inside a container.

    Raises:
        OversprayError: not permitted.
    """
    doctor.require("capabilities")
    return Reader(before).read()


class Reader:
    """One reading. ``views`` are by the namespace's inode, ``remarks`` what could not be looked at."""

    def __init__(self, before: Inventory | None = None) -> None:
        self.before = before
        self.kept = of_containers(before) if before else {}
        self.views: dict[int, View] = {}
        self.remarks: list[str] = []

    def read(self) -> Inventory:
        """As :func:`discover`, whoever asks."""
        found = namespaces.find()
        if not found.complete:
            self.remarks.append(
                f"only {namespaces.MOST_DESCRIPTORS} open descriptors were looked at: a namespace that"
                " nothing else holds may be missing"
            )
        for space in found.spaces.values():
            if (kept := self.kept.get(space.inode)) and kept.space == space:
                self.views[space.inode] = kept
                continue
            with self._tolerant(space), _inside(space):
                self.views[space.inode] = View(space, links.links())
        self._tunnels()
        self._neighbours()
        self._underlays()
        joined = overlays.join(self.views.values())
        return Inventory(found.spaces[namespaces.own()], self.views, joined, tuple(self.remarks))

    def _tunnels(self) -> None:
        """What is asked for in namespaces with a tunnel alone."""
        for view in list(self.views.values()):
            if indexes := [link.index for link in tunnels(view)]:
                with self._tolerant(view.space), _at(view.space) as ip:
                    self.views[view.space.inode] = replace(
                        view,
                        forwards=links.forwards(ip, indexes),
                        tc=links.tc(ip, indexes),
                        netfilter=links.netfilter(),
                        tables=rules.tables(),
                    )

    def _neighbours(self) -> None:
        """Which namespaces are meant by the numbers that tunnels, ports and VLANs bear."""
        wanted = {inode: found for inode, view in self.views.items() if (found := numbers(view))}
        known = {inode: self._known(inode) for inode in wanted}
        with ExitStack() as stack:
            sockets = {}
            for space in [self.views[inode].space for inode in wanted]:
                with self._tolerant(space):
                    sockets[space.inode] = stack.enter_context(_socket(space))
            for space in [view.space for view in self.views.values()]:
                asking = [
                    inode
                    for inode in sockets
                    if wanted[inode] - known[inode].keys() and space.inode not in known[inode].values()
                ]
                if not asking:
                    continue
                with self._tolerant(space), namespaces.opened(space) as handle:
                    for inode in asking:
                        if (number := links.nsid(sockets[inode], handle)) is not None:
                            known[inode][number] = space.inode
        for inode in known.keys() & self.views.keys():
            self.views[inode] = replace(self.views[inode], nsids=known[inode])

    def _known(self, inode: int) -> dict[int, int]:
        """The numbers by which a namespace knew those that are there still: they never change."""
        if not self.before or inode not in self.before.views:
            return {}
        old = self.before.views
        return {
            number: there
            for number, there in old[inode].nsids.items()
            if there in self.views and there in old and self.views[there].space == old[there].space
        }

    def _underlays(self) -> None:
        """Routes to the VTEPs, and IPsec with them."""
        asked: dict[int, set[str]] = {}
        for view in self.views.values():
            for link in tunnels(view):
                if under := elsewhere(self.views, view, link.lower_nsid):
                    asked.setdefault(under.space.inode, set()).update(overlays.vteps(view, link))
        for inode, vteps in asked.items():
            view = self.views[inode]
            with self._tolerant(view.space), _at(view.space) as ip:
                found = links.routes(ip, sorted(vteps))
                self.views[inode] = replace(view, routes=found, ipsec=ipsec.ends())

    @contextmanager
    def _tolerant(self, space: Namespace) -> Iterator[None]:
        """A namespace that vanishes in the block is none of ours any more; other errors become remarks."""
        try:
            yield
        except (NetlinkError, OSError) as error:
            number = error.code if isinstance(error, NetlinkError) else error.errno or 0
            if number not in _GONE:
                self.remarks.append(f"look into network namespace '{space}': {os.strerror(number)}")
            elif isinstance(error, OSError):  # of its path: NetlinkError is of a device
                self.views.pop(space.inode, None)


def of_containers(before: Inventory) -> dict[int, View]:
    """The views of containers' namespaces, by inode: of those that are nothing else as well."""
    ends = {port.peer.namespace.inode for each in before.overlays for port in each.ports if port.peer}
    parts = [(each.device, *each.underlay, *each.nics) for each in before.overlays]
    others = {part.namespace.inode for found in parts for part in found} | {before.own.inode}
    return {inode: before.views[inode] for inode in (ends - others) & before.views.keys()}


def tunnels(view: View) -> list[Link]:
    """The VXLAN devices of a namespace."""
    return [link for link in view.links.values() if link.vxlan]


def numbers(view: View) -> set[int]:
    """The numbers of other namespaces, as this one has them, that its overlays lead into."""
    found = tunnels(view)
    bridges = {link.master for link in found if link.master}
    if found:
        found += [link for link in view.links.values() if link.master in bridges or link.kind in STACKED]
    return {link.lower_nsid for link in found if link.lower_nsid is not None}


def meant(found: Inventory, view: View, number: int | None) -> View | None:
    """The view that ``view`` means by the number of another namespace, itself by None; asked for where no
    overlay led there. None: out of reach."""
    known = elsewhere(found.views, view, number)
    if known or number is None:
        return known
    with suppress(OSError, NetlinkError), _socket(view.space) as ip:
        for other in found.views.values():
            with suppress(OSError, NetlinkError), namespaces.opened(other.space) as handle:
                if links.nsid(ip, handle) == number:
                    return other
    return None


@contextmanager
def _inside(space: Namespace) -> Iterator[None]:
    """The calling thread is in that namespace until the block ends."""
    with namespaces.opened(space) as handle, netns.inside(handle):
        yield


@contextmanager
def _at(space: Namespace) -> Iterator[IPRoute]:
    """Netlink of that namespace, with the calling thread in it until the block ends."""
    with _inside(space), IPRoute() as ip:
        yield ip


@contextmanager
def _socket(space: Namespace) -> Iterator[IPRoute]:
    """Netlink of that namespace, with the calling thread where it was."""
    with ExitStack() as stack:
        with _inside(space):
            ip = stack.enter_context(IPRoute())
        yield ip
