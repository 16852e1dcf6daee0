"""Whether a network namespace has packet filters: tables of iptables, in both its forms, or of nftables.

Of the calling thread's namespace. A table may be empty, and mostly is not where somebody has made it.
"""

import errno
import socket
import struct
from pathlib import Path

_NETLINK_NETFILTER = 12
_REQUEST, _DUMP = 0x1, 0x300
_ERROR, _DONE = 0x2, 0x3
_NFT, _NEWTABLE, _GETTABLE = 10 << 8, 0, 1
"""NFNL_SUBSYS_NFTABLES and messages of linux/netfilter/nf_tables.h."""
_NAME = 1
"""NFTA_TABLE_NAME."""
_HEADER, _FAMILY = struct.Struct("=IHHII"), struct.Struct("=BBH")
_MOST = 1 << 16
_NOT_HERE = {errno.EPROTONOSUPPORT, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOENT}
"""The kernel has no nftables."""


def tables() -> tuple[str, ...]:
    """Such as ``iptables filter`` and ``nftables firewall``. OSError where the kernel does not let us ask."""
    return (*_legacy(), *(f"nftables {name}" for name in _nft()))


def _legacy() -> list[str]:
    found = []
    for words, file in (("iptables", "ip"), ("ip6tables", "ip6"), ("arptables", "arp")):
        try:
            names = Path(f"/proc/thread-self/net/{file}_tables_names").read_text().split()
        except FileNotFoundError:
            continue
        found += [f"{words} {name}" for name in names]
    return found


def _nft() -> list[str]:
    """Names of all tables, each family's."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as asked:
            request = _FAMILY.pack(0, 0, 0)
            size = _HEADER.size + len(request)
            asked.send(_HEADER.pack(size, _NFT | _GETTABLE, _REQUEST | _DUMP, 1, 0) + request)
            return _names(asked)
    except OSError as error:
        if error.errno in _NOT_HERE:
            return []
        raise


def _names(asked: socket.socket) -> list[str]:
    found: list[str] = []
    while True:
        data = asked.recv(_MOST)
        while len(data) >= _HEADER.size:
            length, kind, *_ = _HEADER.unpack_from(data)
            body, data = data[_HEADER.size : length], data[(length + 3) & ~3 :]
            if kind == _DONE:
                return found
            if kind == _ERROR:
                number = -struct.unpack_from("=i", body)[0]
                raise OSError(number, "list the tables of nftables")
            if kind == _NFT | _NEWTABLE:
                found += _name(body[_FAMILY.size :])


def _name(attributes: bytes) -> list[str]:
    while len(attributes) >= 4:
        length, kind = struct.unpack_from("=HH", attributes)
        if kind == _NAME:
            return [attributes[4:length].rstrip(b"\0").decode(errors="replace")]
        attributes = attributes[max(4, (length + 3) & ~3) :]
    return []
