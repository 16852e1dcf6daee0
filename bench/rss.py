"""Receive side scaling as a network card does it: a hash of the outermost headers picks the receive queue.

A veth has none: its receive queue is the sending core's number. So the wire stands in for it: it works out
each flow's queue by the card's own function, and sends the flow from that queue's core.
"""

from collections.abc import Sequence
from ipaddress import ip_address

from bench.frame import FIRST_PORT, OUTER_PORT, SINK_PORT
from bench.lab_plan import Plan

KEY = bytes.fromhex("6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa")
"""Of Microsoft's specification ("Verifying the RSS Hash Calculation"), and many drivers' default."""
TABLE = 128
"""Places of the indirection table; queues take turns in it, as `ethtool -X DEV equal N` has them."""


def toeplitz(data: bytes, key: bytes = KEY) -> int:
    """The Toeplitz hash: of each bit of the data that is set, the 32 bits of the key from there on."""
    bits, length = int.from_bytes(key, "big"), 8 * len(key)
    found = 0
    for place in range(8 * len(data)):
        if data[place // 8] & (0x80 >> place % 8):
            found ^= bits >> (length - 32 - place) & 0xFFFFFFFF
    return found


def hash_of(source: str, destination: str, ports: tuple[int, int] | None = None) -> int:
    """Of a packet's addresses (IPv4 or IPv6), and of source and destination port, where those are hashed."""
    data = ip_address(source).packed + ip_address(destination).packed
    if ports:
        data += b"".join(port.to_bytes(2, "big") for port in ports)
    return toeplitz(data)


def cores_of_flows(plan: Plan, flows: int, queues: Sequence[int], with_ports: bool) -> list[int]:
    """The core that receives each of the wire's flows, of a card with a queue for each of these cores; empty
    where it has none."""
    if not queues:
        return []
    first, port = (OUTER_PORT, plan.port) if plan.has_tunnel else (FIRST_PORT, SINK_PORT)
    hashes = [
        hash_of(plan.wire_ip, plan.nic_ip, (first + flow, port) if with_ports else None)
        for flow in range(flows)
    ]
    return [queues[each % TABLE % len(queues)] for each in hashes]
