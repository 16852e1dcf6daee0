"""Follows an overlay: a new snapshot whenever something about it changed.

The kernel tells of links, addresses and forwarding entries (netlink multicast, one socket in each
namespace), but of no new namespace: those are looked for once a second.
"""

import os
import selectors
import struct
import time
from collections.abc import Iterator

from pyroute2.netlink.rtnl import (
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELNEIGH,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    RTMGRP_IPV4_IFADDR,
    RTMGRP_IPV6_IFADDR,
    RTMGRP_LINK,
    RTMGRP_NEIGH,
)
from pyroute2.netlink.rtnl.ndmsg import NTF_SELF

from steering.closing import Closing
from steering.errors import OversprayError
from steering.netns import Namespace
from steering.overlay.discover import Discovery
from steering.overlay.model import Overlay
from steering.overlay.namespaces import HeldNamespace
from steering.overlay.netlink import NETLINK_ROUTE, Netlink
from steering.overlay.view import ADDRESSES, AF_BRIDGE, ENTRIES, EVERYTHING, LINKS

RESCAN = 1.0
"""Seconds between two looks for new namespaces."""
_SETTLE = 0.02
_REST = 5
_GROUPS = RTMGRP_LINK | RTMGRP_NEIGH | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR
_PARTS = {
    RTM_NEWLINK: LINKS,
    RTM_DELLINK: LINKS,
    RTM_NEWADDR: ADDRESSES,
    RTM_DELADDR: ADDRESSES,
    RTM_NEWNEIGH: ENTRIES,
    RTM_DELNEIGH: ENTRIES,
}


class Watch(Closing):
    """The overlay behind a NIC, followed. A context manager, used by one thread::

        with Watch("host", "nic0") as watch:
            for overlay in watch:   # the first at once, then one for each change
                ...

    :meth:`stop` may be called by another thread or a signal handler and ends the iteration.
    """

    def __init__(self, netns: Namespace, nic: str, rescan: float = RESCAN) -> None:
        """Take the first snapshot (``overlay``).

        Raises:
            BadInput: no such device.
            OversprayError: no such namespace, or no right to look.
        """
        self._rescan = rescan
        self._next_scan = self._quiet_until = 0.0
        self._stopped = False
        self._sockets: dict[HeldNamespace, Netlink] = {}
        self._dirty: dict[HeldNamespace, int] = {}
        self._selector = selectors.DefaultSelector()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._discovery: Discovery | None = None
        try:
            self._selector.register(self._bell, selectors.EVENT_READ)
            self._discovery = Discovery(netns, nic)
            self._look_for_namespaces()
            self.overlay: Overlay = self._discovery.overlay()
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[Overlay]:
        """The present snapshot, then one for each change until :meth:`stop`."""
        yield self.overlay
        while not self._stopped:
            if (overlay := self.changed()) is not None:
                yield overlay

    def stop(self) -> None:
        """End the iteration, and any wait; safe from anywhere."""
        self._stopped = True
        if self._bell >= 0:  # a second signal may come when all is closed
            os.eventfd_write(self._bell, 1)

    def close(self) -> None:
        """Let go of all sockets and namespaces; the snapshots' namespaces can't be entered then."""
        for netlink in self._sockets.values():
            netlink.close()
        self._sockets.clear()
        self._selector.close()
        if self._bell >= 0:
            os.close(self._bell)
            self._bell = -1
        if self._discovery is not None:
            self._discovery.close()

    def changed(self, timeout: float | None = None) -> Overlay | None:
        """Wait for a change, at most ``timeout`` seconds: the new snapshot, or None.

        Raises:
            BadInput: the NIC is gone.
        """
        end = float("inf") if timeout is None else time.monotonic() + timeout
        while not self._stopped:
            self._wait(min(end, self._next_scan, self._quiet_until if self._dirty else end))
            now = time.monotonic()
            new = now >= self._next_scan and self._look_for_namespaces()
            if new or (self._dirty and now >= self._quiet_until):
                if (overlay := self._update()) is not None:
                    return overlay
            elif now >= end:
                return None
        return None

    def _wait(self, until: float) -> None:
        """Sleep until then at the latest; take in what the kernel tells meanwhile."""
        pause = None if until == float("inf") else max(0.0, until - time.monotonic())
        clean = not self._dirty
        for key, _ in self._selector.select(pause):
            if key.data is not None:
                self._take_in(key.data)
        if clean and self._dirty:
            # Changes come in flocks (a container is a dozen); wait for the rest of this one.
            self._quiet_until = max(self._quiet_until, time.monotonic() + _SETTLE)

    def _take_in(self, ns: HeldNamespace) -> None:
        parts = 0
        try:
            for kind, payload in self._sockets[ns].notifications():
                parts |= parts_touched(kind, payload)
        except OSError:  # some were lost: look at everything
            parts = EVERYTHING
        if parts:
            self._dirty[ns] = self._dirty.get(ns, 0) | parts

    def _update(self) -> Overlay | None:
        """Read again what was touched; the snapshot if that made a difference."""
        assert self._discovery is not None
        started = time.thread_time()
        self._look_for_namespaces()
        dirty, self._dirty = self._dirty, {}
        for ns, parts in dirty.items():
            self._discovery.reread(ns, parts)
        overlay = self._discovery.overlay()
        # However much goes on, at most a sixth of a core is spent on looking at it. What it took
        # to get the core, or the kernel's lock, is no reason to rest.
        self._quiet_until = time.monotonic() + _REST * (time.thread_time() - started)
        same, self.overlay = overlay == self.overlay, overlay
        return None if same else overlay

    def _look_for_namespaces(self) -> bool:
        """Follow the namespaces that came, forget those that went; whether there were any."""
        assert self._discovery is not None
        came, gone = self._discovery.rescan(before_reading=self._follow)
        for ns in gone:
            if (netlink := self._sockets.pop(ns, None)) is not None:
                self._selector.unregister(netlink)
                netlink.close()
            self._dirty.pop(ns, None)
        self._next_scan = time.monotonic() + self._rescan
        return bool(came or gone)

    def _follow(self, ns: HeldNamespace) -> None:
        try:
            netlink = Netlink(ns, NETLINK_ROUTE, _GROUPS)
        except OversprayError:  # not ours to enter
            return
        self._sockets[ns] = netlink
        self._selector.register(netlink, selectors.EVENT_READ, ns)


def parts_touched(kind: int, payload: bytes) -> int:
    """Which parts of a view a notification makes stale (a mask).

    Of neighbours, only a tunnel device's own forwarding entries (NTF_SELF) matter: what a bridge
    learns, and ARP, come and go all the time.
    """
    parts = _PARTS.get(kind, 0)
    if parts == ENTRIES:
        family, flags = struct.unpack_from("=B9xB", payload)
        if family != AF_BRIDGE or not flags & NTF_SELF:
            return 0
    return parts
