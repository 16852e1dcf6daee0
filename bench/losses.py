"""Where the kernel loses packets of a lab, by its own counters: rings, queues, IP, UDP.

One packet is lost once, but the kernel often counts it several times (a full backlog shows in
softnet_stat, on the receiving device and on the veth that sent into it). Here each loss has one
name. What GRO has put together counts as one packet here: there is no counter for the segments.
"""

import ctypes
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from bench.lab_plan import Lab
from steering.closing import Closing
from steering.netns import entered

Drops = dict[str, dict[str, int]]
"""Packets lost, by stage and name."""

_IP = {
    "InHdrErrors": "bad_header",
    "InAddrErrors": "bad_address",
    "InDiscards": "discarded",
    "InUnknownProtos": "unknown_protocol",
    "InNoRoutes": "no_route",
    "InTruncatedPkts": "truncated",
}
# InErrors has no place here: it counts what a socket filter drops, and the sink `count` is one.
_UDP = {
    "RcvbufErrors": "socket_full",
    "InCsumErrors": "bad_checksum",
    "NoPorts": "no_socket",
    "MemErrors": "no_memory",
}
TCP_EVENTS = (
    "TCPOFOQueue",
    "TCPOFOMerge",
    "TCPSACKReorder",
    "TCPDSACKOldSent",
    "TCPDSACKOfoSent",
    "TCPRcvCoalesce",
    "TCPBacklogCoalesce",
    "TCPBacklogDrop",
    "TCPRcvQDrop",
    "TCPZeroWindowDrop",
    "TCPOFODrop",
    "TCPRcvCollapsed",
    "PruneCalled",
    "DelayedACKs",
)
_RING = re.compile(r"tx_queue_\d+_xdp_xmit_errors")
_FAILED = re.compile(r"rx_queue_\d+_drops")
_GET_GRO = 0x2B


class Losses(Closing):
    """Reads a lab's counters. A context manager; it holds on to the lab's namespaces."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        hosts = [ns for ns in lab.namespaces if ns != lab.wire_ns]
        self._spaces = {ns: _Namespace(ns) for ns in [lab.wire_ns, *hosts]}

    def read(self) -> Counter[str]:
        """All counters as they stand, under flat names of our own."""
        lab, found = self.lab, Counter[str]()
        devices = {ns: space.devices() for ns, space in self._spaces.items()}
        self._veth(found, "nic", (lab.wire_ns, lab.wire), (lab.host_ns, lab.nic), devices)
        if lab.tunnel_ns:
            rx, errors, _ = devices[lab.tunnel_ns][lab.tunnel]
            found["tunnel.queue_full"], found["tunnel.error"] = rx, errors
        if lab.spec.has_containers:
            for ns in {end.host_netns for end in lab.endpoints}:
                rx, errors, _ = devices[ns][lab.bridge]
                found["bridge.dropped"] += rx + errors
            for end in lab.endpoints:
                sender, receiver = (end.host_netns, end.host_device), (end.netns, end.device)
                self._veth(found, "veth", sender, receiver, devices)
        for ns, space in self._spaces.items():
            if ns != lab.wire_ns:
                found.update(space.protocols())
        return found

    def _veth(
        self,
        found: Counter[str],
        stage: str,
        sender: tuple[str, str],
        receiver: tuple[str, str],
        devices: Mapping[str, Mapping[str, tuple[int, int, int]]],
    ) -> None:
        """What is lost between a veth's ends: frames of XDP, packets, and behind it by RPS."""
        (near, out), (far, into) = sender, receiver
        ring = self._spaces[near].sum_of(out, _RING)
        failed = self._spaces[far].sum_of(into, _FAILED)
        backlog = devices[far][into][0] - ring - failed
        found[f"{stage}.ring_full"] += ring
        found[f"{stage}.failed"] += failed
        found[f"{stage}.backlog_full"] += backlog
        if stage == "nic":
            return  # live frames take no other way
        # Without NAPI at its other end, what a veth could not send is what the backlog refused.
        unsent = devices[near][out][2]
        found[f"{stage}.queue_full"] += unsent if self._spaces[far].gro(into) else unsent - backlog

    def tcp(self) -> Counter[str]:
        """What the receivers' TCP did out of the ordinary: :data:`TCP_EVENTS`."""
        found = Counter[str]()
        for ns in {end.netns for end in self.lab.endpoints}:
            found.update(self._spaces[ns].tcp())
        return found

    def close(self) -> None:
        """Let go of the namespaces."""
        for space in self._spaces.values():
            space.close()


def by_stage(before: Mapping[str, int], after: Mapping[str, int]) -> Drops:
    """What was lost between two readings; nothing lost left out."""
    drops: Drops = {}
    for name in sorted(after):
        lost = after[name] - before.get(name, 0)
        if lost > 0:
            stage, _, what = name.partition(".")
            drops.setdefault(stage, {})[what] = lost
    return drops


class _Namespace:
    """Open files and a socket inside one namespace: reading them again needs no entering."""

    def __init__(self, ns: str) -> None:
        from pyroute2.ethtool.ioctl import IoctlEthtool

        self._files: dict[str, int] = {}
        self._ethtool: Any = None
        self._names: dict[str, list[str]] = {}
        with entered(ns):
            for name in ("dev", "snmp", "snmp6", "netstat"):
                path = f"/proc/thread-self/net/{name}"
                if os.path.exists(path):  # noqa: PTH110 - no IPv6, no snmp6
                    self._files[name] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self._ethtool = IoctlEthtool()

    def devices(self) -> dict[str, tuple[int, int, int]]:
        """Device -> packets dropped in receiving, receive errors, packets dropped in sending."""
        found = {}
        for line in self._text("dev").splitlines()[2:]:
            name, _, rest = line.partition(":")
            numbers = rest.split()
            found[name.strip()] = int(numbers[3]), int(numbers[2]), int(numbers[11])
        return found

    def protocols(self) -> Counter[str]:
        """Losses of IP and UDP, both versions together."""
        found = Counter[str]()
        for family, name, value in [*_pairs(self._text("snmp")), *_singles(self._text("snmp6"))]:
            ours = {"ip": _IP, "udp": _UDP}.get(family, {}).get(name)
            if ours:
                found[f"{family}.{ours}"] += value
        return found

    def tcp(self) -> Counter[str]:
        """What TCP did out of the ordinary, by the kernel's names (netstat(8))."""
        rows = _pairs(self._text("netstat"))
        return Counter({name: value for family, name, value in rows if name in TCP_EVENTS})

    def sum_of(self, device: str, pattern: re.Pattern[str]) -> int:
        """Sum of the device's own statistics (``ethtool -S``) of such names."""
        self._ethtool.change_ifname(device)
        self._ethtool.stat_names = self._names.get(device)
        pairs = self._ethtool.get_statistics()
        self._names[device] = self._ethtool.stat_names
        return sum(int(value) for name, value in pairs if pattern.fullmatch(name))

    def gro(self, device: str) -> bool:
        """Whether GRO is on, and so, for a veth, NAPI."""
        from pyroute2.ethtool.ioctl import EthtoolValue

        self._ethtool.change_ifname(device)
        answer = EthtoolValue(cmd=_GET_GRO)
        self._ethtool.ifreq.value = ctypes.pointer(answer)
        self._ethtool.ioctl()
        return bool(answer.data)

    def close(self) -> None:
        for file in self._files.values():
            os.close(file)
        self._ethtool.close()

    def _text(self, name: str) -> str:
        if name not in self._files:
            return ""
        size = 1 << 16
        parts = []
        offset = 0
        while part := os.pread(self._files[name], size, offset):
            parts.append(part)
            offset += len(part)
        return b"".join(parts).decode()


def _pairs(text: str) -> Iterator[tuple[str, str, int]]:
    """/proc/net/snmp: a line of names, then one of values."""
    lines = text.splitlines()
    for names, values in zip(lines[::2], lines[1::2], strict=True):
        family = names.partition(":")[0].lower()
        for name, value in zip(names.split()[1:], values.split()[1:], strict=True):
            yield family, name, int(value)


def _singles(text: str) -> Iterator[tuple[str, str, int]]:
    """/proc/net/snmp6: ``Udp6NoPorts 0``."""
    for line in text.splitlines():
        name, value = line.split()
        for family in ("Ip", "Udp"):
            if name.startswith(f"{family}6"):
                yield family.lower(), name[len(family) + 1 :], int(value)
