"""What a NIC's receive-side scaling would do: a Toeplitz hash picks a queue, once per flow.

The hash is that of Microsoft's RSS specification ("RSS hashing functions"), with its sample key,
and an indirection table of 128 entries filled round-robin, as drivers do.
"""

from collections.abc import Sequence

KEY = bytes.fromhex(
    "6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa"
)
_TABLE = 128


def toeplitz(data: bytes, key: bytes = KEY) -> int:
    """32-bit hash of ``data`` (network byte order): for each set bit, the key's window there."""
    window = int.from_bytes(key, "big")
    bits = len(key) * 8
    result = 0
    for position in range(len(data) * 8):
        if data[position // 8] >> (7 - position % 8) & 1:
            result ^= window >> (bits - 32 - position) & 0xFFFFFFFF
    return result


def queue_of(addresses: bytes, ports: bytes, fields: int, queues: int) -> int:
    """The queue of a flow: hash of 2 (addresses) or 4 ``fields`` through the indirection table."""
    data = addresses + ports if fields == 4 else addresses
    return toeplitz(data) % _TABLE % queues


def owners(frames: Sequence[tuple[bytes, bytes]], fields: int, queues: int) -> list[int]:
    """The queue of each flow, given its outer (addresses, ports)."""
    return [queue_of(addresses, ports, fields, queues) for addresses, ports in frames]
