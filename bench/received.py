"""What containers receive, whoever delivers it: as the kernel counts it in each one's IP stack.

There every packet counts, also those that GRO has merged into one; a device counts them before or after that,
or, before Linux 6.7, not at all where bpf_redirect_peer brings them.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.losses import opened, text_of
from steering.closing import Closing

_RX_BYTES, _RX_PACKETS = 0, 1
"""Columns of /proc/net/dev."""
_MARKS = ("InNoECTPkts", "InECT1Pkts", "InECT0Pkts", "InCEPkts")
"""Packets by their congestion marks; of one that GRO has made, those in it (ip_rcv_core in the kernel's
net/ipv4/ip_input.c)."""
_ETHERNET = 14
"""Bytes that a device counts of a frame, and the IP stack does not."""


@dataclass(frozen=True)
class Received:
    """Since boot, or between two moments; ``bytes`` are of IP packets, the headers of merged ones once."""

    packets: int
    bytes: int

    def since(self, before: "Received") -> "Received":
        """What came between; nothing where a device that was subtracted is gone."""
        return Received(max(0, self.packets - before.packets), max(0, self.bytes - before.bytes))


class Counted(Closing):
    """One namespace, through files that are kept open. A context manager.

    Raises OversprayError where there is no such namespace.
    """

    def __init__(self, namespace: str) -> None:
        """``namespace`` as `steering.netns` has it."""
        with ExitStack() as stack:
            self._dev, self._netstat = (opened(stack, namespace, name) for name in ("dev", "netstat"))
            has_ipv6 = Path("/proc/net/snmp6").exists()
            self._snmp6 = opened(stack, namespace, "snmp6") if has_ipv6 else None
            self._open = stack.pop_all()

    def close(self) -> None:
        """Let go of the namespace. Closing twice is harmless."""
        self._open.close()

    def frames(self, device: str) -> int:
        """That a device of it has received; none, if it is gone."""
        return self._devices().get(device, Received(0, 0)).packets

    def beside(self, devices: frozenset[str]) -> Received:
        """What has come through these devices: all that came, but for what the others got."""
        ip = _ip(text_of(self._netstat))
        packets, size = sum(ip[name] for name in _MARKS), ip["InOctets"]
        if self._snmp6 is not None:
            ip6 = _ip6(text_of(self._snmp6))
            packets, size = packets + sum(ip6[name] for name in _MARKS), size + ip6["InOctets"]
        for name, other in self._devices().items():
            if name not in devices:
                packets, size = packets - other.packets, size - other.bytes + _ETHERNET * other.packets
        return Received(packets, size)

    def _devices(self) -> dict[str, Received]:
        """As each device counts: frames, and their bytes."""
        found = {}
        for line in text_of(self._dev).splitlines()[2:]:
            name, _, numbers = line.rpartition(":")
            values = numbers.split()
            found[name.strip()] = Received(int(values[_RX_PACKETS]), int(values[_RX_BYTES]))
        return found


def _ip(text: str) -> dict[str, int]:
    """Of /proc/net/netstat: for each protocol a line of names, then one of values."""
    names, values = (line.split()[1:] for line in text.splitlines() if line.startswith("IpExt:"))
    return {name: int(value) for name, value in zip(names, values, strict=True)}


def _ip6(text: str) -> dict[str, int]:
    """Of /proc/net/snmp6, under the same names: a name and its value on each line."""
    rows = (line.split() for line in text.splitlines())
    return {name.removeprefix("Ip6"): int(value) for name, value in rows if name.startswith("Ip6")}
