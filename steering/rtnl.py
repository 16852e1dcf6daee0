"""Lists of the kernel, over a plain netlink socket of the calling thread's namespace, as pyroute2's messages.

An IPRoute takes about a millisecond to open and to ask: too long for a host with hundreds of namespaces.
"""

import socket
import struct
from collections.abc import Callable, Iterable
from typing import Any

from pyroute2.netlink import NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE
from pyroute2.netlink.rtnl import RTM_GETADDR, RTM_GETLINK
from pyroute2.netlink.rtnl.marshal import MarshalRtnl

from steering.closing import Closing

_ENOUGH = 5
"""Times that a list is asked for which changed meanwhile: after that, what is there must do."""
_HEADERS = {RTM_GETLINK: 16, RTM_GETADDR: 8}
"""Bytes of struct ifinfomsg, struct ifaddrmsg: zeros mean all."""
_MOST = 1 << 18
"""Bytes of one answer; the kernel's are some ten thousand."""


class Rtnl(Closing):
    """A socket of the namespace in which it was opened. Raises OSError."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._marshal = MarshalRtnl()

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def links(self) -> list[Any]:
        """All devices. Raises NetlinkError, OSError."""
        return steady(lambda: self._list(RTM_GETLINK))

    def addresses(self) -> list[Any]:
        """All addresses of all devices. Raises NetlinkError, OSError."""
        return steady(lambda: self._list(RTM_GETADDR))

    def _list(self, kind: int) -> Iterable[Any]:
        size = _HEADERS[kind]
        request = struct.pack("=IHHII", 16 + size, kind, NLM_F_REQUEST | NLM_F_DUMP, 1, 0)
        self._socket.send(request + bytes(size))
        while True:
            for message in self._marshal.parse(self._socket.recv(_MOST)):
                if error := message["header"]["error"]:
                    raise error
                yield message
                if message["header"]["type"] == NLMSG_DONE:
                    return


def steady(ask: Callable[[], Iterable[Any]]) -> list[Any]:
    """All messages that answer; asked for again where the kernel says that they changed meanwhile."""
    for _ in range(_ENOUGH):
        answers = list(ask())
        if not any(each["header"]["flags"] & NLM_F_DUMP_INTR for each in answers):
            break
    return [each for each in answers if each["header"]["type"] != NLMSG_DONE]
