"""What the parts of the comparison read in frames."""

import ipaddress
import struct

MAGIC = b"\xf7oSp"
"""Ahead of a frame's number, 4 bytes, in whatever it carries."""


def ones_sum(data: bytes, start: int = 0) -> int:
    """The ones' complement sum (RFC 1071) of some bytes, 16 bits."""
    padded = data + bytes(len(data) % 2)
    total: int = start + sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def number_of(data: bytes) -> int | None:
    """The number that the generator gave the frame which this is, or is of, or quotes."""
    at = data.find(MAGIC) + len(MAGIC)
    if at < len(MAGIC) or len(data) < at + 4:
        return None
    return int(struct.unpack_from("!I", data, at)[0])


def address_bytes(address: str) -> bytes:
    """An address as it stands in a header."""
    return ipaddress.ip_address(address).packed


def mac_bytes(mac: str) -> bytes:
    """A MAC as it stands in a header."""
    return bytes.fromhex(mac.replace(":", ""))


def packet_field(data: bytes | bytearray, at: int) -> int:
    """The 16-bit number at a place."""
    return int(struct.unpack_from("!H", data, at)[0])
