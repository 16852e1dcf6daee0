"""Which hosts a network namespace has IPsec states with (NETLINK_XFRM, include/uapi/linux/xfrm.h).

pyroute2 has no messages of that family. Of a state only its two ends are read.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator

_NETLINK_XFRM = 6
_GET_STATES, _STATE = 0x12, 0x10
_REQUEST_DUMP = 0x301
_ERROR, _DONE = 2, 3
_HEADER = struct.Struct("=IHHII")
_TO, _FROM, _FAMILY = 56, 80, 212
"""Bytes into struct xfrm_usersa_info."""
_LENGTHS = {socket.AF_INET: 4, socket.AF_INET6: 16}


def ends() -> frozenset[str]:
    """Addresses of both ends of every state of the calling thread's namespace. Raises OSError."""
    try:
        asking = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_XFRM)
    except OSError as error:
        if error.errno != errno.EPROTONOSUPPORT:  # the kernel has no IPsec, or nobody has used it yet
            raise
        return frozenset()
    with asking:
        asking.send(_HEADER.pack(_HEADER.size, _GET_STATES, _REQUEST_DUMP, 1, 0))
        return frozenset(_answers(asking))


def _answers(asking: socket.socket) -> Iterator[str]:
    while True:
        data = asking.recv(1 << 16)
        for kind, body in messages(data):
            if kind == _DONE:
                return
            if kind == _ERROR:
                number = -struct.unpack_from("=i", body)[0]
                raise OSError(number, os.strerror(number))
            if kind == _STATE:
                yield from state_ends(body)


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Types and bodies of netlink messages."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size:
            return
        yield kind, data[at + _HEADER.size : at + length]
        at += -(-length // 4) * 4


def state_ends(state: bytes) -> Iterator[str]:
    """Both addresses in a struct xfrm_usersa_info."""
    (family,) = struct.unpack_from("=H", state, _FAMILY)
    length = _LENGTHS.get(family, 0)
    for at in (_TO, _FROM) if length else ():
        yield socket.inet_ntop(family, state[at : at + length])
