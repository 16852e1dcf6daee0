"""Numbers of a link by their attribute's own number, for those that pyroute2 has no name for."""

import os
import socket
import struct

from steering.errors import BadInput, OversprayError

_GET, _SET, _ERROR = 18, 19, 2
_REQUEST, _ACK = 1, 4
_STATISTICS, _OTHER_HOST = 23, 24 * 8
"""IFLA_STATS64, and where rx_otherhost_dropped stands in struct rtnl_link_stats64."""
_HEADER, _LINK, _ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=BxHiII"), struct.Struct("=HH")


def read_numbers(device: str, attributes: tuple[int, ...]) -> tuple[int, ...]:
    """The 32-bit attributes (IFLA_…) of a device of this namespace, in the order asked for.

    Raises:
        BadInput: no such device, or the kernel does not have one of them.
    """
    held = _attributes(device)
    found = {kind: struct.unpack("=I", raw)[0] for kind, raw in held.items() if len(raw) == 4}
    missing = [number for number in attributes if number not in found]
    if missing:
        raise BadInput(f"link '{device}' has no attribute {missing[0]}: this kernel is too old")
    return tuple(found[number] for number in attributes)


def strangers(device: str) -> int:
    """Packets that a device of this namespace took and dropped, for they are for another MAC.

    Raises:
        BadInput: no such device, or a kernel before 5.19, which does not count them.
    """
    held = _attributes(device).get(_STATISTICS, b"")
    if len(held) < _OTHER_HOST + 8:
        raise BadInput(f"link '{device}' does not count packets for others: Linux 5.19 does")
    return int(struct.unpack_from("=Q", held, _OTHER_HOST)[0])


def _attributes(device: str) -> dict[int, bytes]:
    found = {}
    answer = _ask(device, _GET, _REQUEST, b"")[_HEADER.size + _LINK.size :]
    while len(answer) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(answer)
        found[kind] = answer[_ATTRIBUTE.size : length]
        answer = answer[max(4, (length + 3) & ~3) :]
    return found


def write_number(device: str, attribute: int, value: int) -> None:
    """Set one. OversprayError where the kernel refuses."""
    _ask(device, _SET, _REQUEST | _ACK, struct.pack("=HHI", 8, attribute, value))


def _ask(device: str, kind: int, flags: int, attributes: bytes) -> bytes:
    try:
        index = socket.if_nametoindex(device)
    except OSError:
        raise BadInput(f"no device '{device}' in this namespace") from None
    body = _LINK.pack(0, 0, index, 0, 0) + attributes
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as one:
        one.bind((0, 0))
        one.send(_HEADER.pack(_HEADER.size + len(body), kind, flags, 1, 0) + body)
        answer = one.recv(1 << 16)
    _, answered, _, _, _ = _HEADER.unpack_from(answer)
    if answered == _ERROR:
        error = -struct.unpack_from("=i", answer, _HEADER.size)[0]
        if error:
            raise OversprayError(f"link '{device}': {os.strerror(error)}")
    return answer
