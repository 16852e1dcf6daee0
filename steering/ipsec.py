"""Which hosts a network namespace has IPsec states or policies for (NETLINK_XFRM, include/uapi/linux/xfrm.h).

pyroute2 has no messages of that family. Only the two ends are read.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator

_NETLINK_XFRM = 6
_GET_STATES, _STATE, _GET_POLICIES, _POLICY = 0x12, 0x10, 0x15, 0x13
_REQUEST_DUMP = 0x301
_ERROR, _DONE = 2, 3
_HEADER = struct.Struct("=IHHII")
_PLACES = {_STATE: (56, 80, 212), _POLICY: (0, 16, 40)}
"""Of destination, source and address family: bytes into struct xfrm_usersa_info and xfrm_userpolicy_info."""
_PREFIXES = 42
"""Of a policy's destination and source: where these bytes of bits are."""
_LENGTHS = {socket.AF_INET: 4, socket.AF_INET6: 16}


def ends() -> frozenset[str]:
    """Addresses of both ends of every state, and every policy for single hosts, of the calling thread's
    namespace. Raises OSError."""
    try:
        asking = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_XFRM)
    except OSError as error:
        if error.errno != errno.EPROTONOSUPPORT:  # the kernel has no IPsec, or nobody has used it yet
            raise
        return frozenset()
    with asking:
        return frozenset([*_answers(asking, _GET_STATES), *_answers(asking, _GET_POLICIES)])


def _answers(asking: socket.socket, question: int) -> Iterator[str]:
    asking.send(_HEADER.pack(_HEADER.size, question, _REQUEST_DUMP, 1, 0))
    while True:
        data = asking.recv(1 << 16)
        for kind, body in messages(data):
            if kind == _DONE:
                return
            if kind == _ERROR:
                number = -struct.unpack_from("=i", body)[0]
                raise OSError(number, os.strerror(number))
            yield from ends_of(kind, body)


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Types and bodies of netlink messages."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size:
            return
        yield kind, data[at + _HEADER.size : at + length]
        at += -(-length // 4) * 4


def ends_of(kind: int, body: bytes) -> Iterator[str]:
    """Both addresses of a state or a policy; none of any other message, or of a policy for whole networks."""
    if kind not in _PLACES:
        return
    to, source, at = _PLACES[kind]
    (family,) = struct.unpack_from("=H", body, at)
    length = _LENGTHS.get(family, 0)
    if not length or (kind == _POLICY and set(body[_PREFIXES : _PREFIXES + 2]) != {8 * length}):
        return
    for start in (to, source):
        yield socket.inet_ntop(family, body[start : start + length])
