"""A plain netlink socket of a namespace: pyroute2's messages, without its event loop.

Discovery asks hundreds of short questions in many namespaces; a bare socket takes 20 µs to open,
can be waited for with others, and may be used by any thread.
"""

import os
import socket
import struct
from collections.abc import Iterator
from typing import Any

from pyroute2.netlink import NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR
from pyroute2.netlink.nlsocket import Marshal
from pyroute2.netlink.rtnl.marshal import MarshalRtnl

from steering.closing import Closing
from steering.errors import OversprayError
from steering.netns import entered
from steering.overlay.namespaces import HeldNamespace

NETLINK_ROUTE = 0
_SOL_NETLINK, _GET_STRICT_CHECK = 270, 12
_DUMP_INTERRUPTED = 0x10
_ROOM = 1 << 18
_ATTEMPTS = 5


class NetlinkError(OversprayError):
    """The kernel refused a request; ``errno`` is its number."""

    def __init__(self, what: str, errno: int) -> None:
        self.errno = errno
        super().__init__(f"netlink: {what}: {os.strerror(errno)}")


class Netlink(Closing):
    """One netlink socket, opened in a namespace, usable from everywhere; a context manager."""

    def __init__(
        self,
        ns: HeldNamespace,
        protocol: int = NETLINK_ROUTE,
        groups: int = 0,
        marshal: Marshal | None = None,
    ) -> None:
        """Open it. With ``groups`` (a bit mask) it gets the kernel's notifications, unblocking."""
        self._ns = ns
        self._marshal = marshal if marshal is not None else MarshalRtnl()
        self._sequence = 0
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        with entered(ns.path):
            self._socket = socket.socket(socket.AF_NETLINK, kind, protocol)
        if protocol == NETLINK_ROUTE:
            # Strict: the kernel honours a request's filters and tells what it does not know.
            self._socket.setsockopt(_SOL_NETLINK, _GET_STRICT_CHECK, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.bind((0, groups))
        self._socket.setblocking(not groups)

    def fileno(self) -> int:
        """The descriptor, to wait for."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket; twice is no error."""
        self._socket.close()

    def dump(self, kind: int, message: Any) -> list[Any]:
        """All answers to a dump request (``kind`` such as RTM_GETLINK), decoded by pyroute2.

        Asked again when the kernel says that what it listed changed meanwhile.

        Raises:
            NetlinkError: the kernel refused.
        """
        answers: list[Any] = []
        for _ in range(_ATTEMPTS):
            self._send(kind, NLM_F_DUMP, message)
            answers = list(self._answers(kind))
            if not any(m["header"]["flags"] & _DUMP_INTERRUPTED for m in answers):
                break
        return answers

    def ask(self, kind: int, message: Any, flags: int = 0) -> list[Any]:
        """Make one request and wait until the kernel has carried it out; what it answered.

        ``flags`` are NLM_F_CREATE and the like.

        Raises:
            NetlinkError: the kernel refused.
        """
        self._send(kind, NLM_F_ACK | flags, message)
        return list(self._answers(kind))

    def notifications(self) -> Iterator[tuple[int, bytes]]:
        """The (type, payload) of all notifications that have come, without waiting.

        Raises:
            OSError: ENOBUFS where some were lost.
        """
        while True:
            try:
                data = self._socket.recv(_ROOM)
            except BlockingIOError:
                return
            yield from _split(data)

    def _send(self, kind: int, flags: int, message: Any) -> None:
        self._sequence += 1
        header = message["header"]
        header["type"] = kind
        header["flags"] = flags | NLM_F_REQUEST
        header["sequence_number"] = self._sequence
        message.reset()
        message.encode()
        self._socket.send(message.data)

    def _answers(self, kind: int) -> Iterator[Any]:
        while True:
            for message in self._marshal.parse(self._socket.recv(_ROOM)):
                header = message["header"]
                if header["sequence_number"] != self._sequence:
                    continue
                if header["type"] == NLMSG_ERROR:
                    if message["error"]:
                        raise NetlinkError(f"request {kind} in '{self._ns}'", -message["error"])
                    return
                if header["type"] == NLMSG_DONE:
                    return
                yield message


def _split(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, payload) of each message in a datagram (netlink(7): length, type, 12 bytes more)."""
    offset = 0
    while offset + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, offset)
        if length < 16:
            return
        yield kind, data[offset + 16 : offset + length]
        offset += (length + 3) & ~3
