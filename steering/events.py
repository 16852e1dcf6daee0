"""Waits until something changes in a network namespace, or in those that it knows by a number.

What changed is not told: whoever waits looks again. So an overflow, of which the kernel tells that something
is missing, is one more change and loses nothing.
"""

import select
import socket
import struct
import time
from contextlib import ExitStack

from pyroute2.netlink.rtnl import (
    RTM_DELLINK,
    RTM_DELNEIGH,
    RTM_DELNSID,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    RTM_NEWNSID,
)

from steering import netns
from steering.closing import Closing

_SOL_NETLINK, _ADD_MEMBERSHIP, _LISTEN_ALL_NSID = 270, 1, 8
_GROUPS = {"link": 1, "neighbour": 3, "nsid": 28}
"""RTNLGRP_* of linux/rtnetlink.h."""
_LINKS = {RTM_NEWLINK, RTM_DELLINK, RTM_NEWNSID, RTM_DELNSID}
_NEIGHBOURS = {RTM_NEWNEIGH, RTM_DELNEIGH}
_HEADER = struct.Struct("=IHHII")
_MOST = 1 << 18
_STEP_S = 1.0


class Events(Closing):
    """Of the namespace of that name (`steering.netns`), until :meth:`close`. Raises OSError."""

    def __init__(self, ns: str) -> None:
        with ExitStack() as stack:
            with netns.entered(ns):
                self._socket = stack.enter_context(
                    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
                )
            self._socket.setsockopt(_SOL_NETLINK, _LISTEN_ALL_NSID, 1)
            self._socket.bind((0, 0))  # first: a membership before it is lost
            for group in _GROUPS.values():
                self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
            self._socket.setblocking(False)
            self._open = stack.pop_all()

    def wait(self, stop: int, seconds: float) -> bool:
        """Until something has changed, or so long: True; or until ``stop`` can be read: False."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            ready, _, _ = select.select([self._socket.fileno(), stop], [], [], left)
            if stop in ready:
                return False
            if ready and self._taken():
                return True
        return True

    def pause(self, stop: int, seconds: float) -> bool:
        """So long, or until ``stop`` can be read: whether that was so."""
        ready, _, _ = select.select([stop], [], [], min(seconds, _STEP_S))
        return bool(ready)

    def close(self) -> None:
        """Hear nothing any more. Closing twice is harmless."""
        self._open.close()

    def _taken(self) -> bool:
        """Take all that is there; whether any of it matters."""
        matters = False
        while True:
            try:
                matters |= any(map(_matters, _messages(self._socket.recv(_MOST))))
            except BlockingIOError:
                return matters
            except OSError:  # ENOBUFS: what did not fit is lost
                matters = True


def _messages(data: bytes) -> list[tuple[int, int]]:
    """Type and address family of each."""
    found, at = [], 0
    while at + _HEADER.size < len(data):
        length, kind, *_ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size:
            break
        found.append((kind, data[at + _HEADER.size]))
        at += (length + 3) & ~3
    return found


def _matters(message: tuple[int, int]) -> bool:
    """Devices and namespaces; of neighbours, forwarding entries alone: addresses come and go all the time."""
    kind, family = message
    return kind in _LINKS or (kind in _NEIGHBOURS and family == socket.AF_BRIDGE)
