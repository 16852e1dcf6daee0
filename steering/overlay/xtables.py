"""Reads a namespace's legacy iptables rules into the form of :mod:`steering.overlay.ruleset`.

The layout is the kernel's UAPI (linux/netfilter_ipv4/ip_tables.h, …_ipv6/ip6_tables.h, x_tables.h):
a table is one run of entries; an entry is addresses and devices, matches, and a target. A jump is
an offset into the run.
"""

import ctypes
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from steering.netns import entered
from steering.overlay.namespaces import HeldNamespace
from steering.overlay.ruleset import COUNTING_TARGETS, Hook, Rule, Ruleset, Test, equals

_GET_INFO, _GET_ENTRIES = 64, 65
_libc = ctypes.CDLL(None, use_errno=True)

# Inversion flags of an entry (IPT_INV_*), the same for both versions.
_NOT_IN, _NOT_OUT, _NOT_SOURCE, _NOT_DESTINATION, _NOT_PROTOCOL = 0x01, 0x02, 0x08, 0x10, 0x40
_GOTO = 0x02
_PORTS = {"udp": 17, "tcp": 6}
_QUEUE = -4
_BUILT_IN = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
_VERDICTS = {-1: "drop", -2: "accept", -4: "drop", -5: "return"}


@dataclass(frozen=True)
class _Version:
    """Where things are in an entry of one IP version."""

    family: str
    socket: int
    level: int
    names: str
    address: int
    source: int
    destination: int
    """Offsets of the addresses in the packet."""
    protocol: int
    """Offset of the protocol in the entry."""
    flags: int
    inversion: int
    target: int
    """Offset of target_offset; next_offset follows."""
    head: int


_V4 = _Version("ip", socket.AF_INET, 0, "ip_tables_names", 4, 12, 16, 80, 82, 83, 88, 112)
_V6 = _Version("ip6", socket.AF_INET6, 41, "ip6_tables_names", 16, 8, 24, 128, 131, 132, 140, 168)


def read_xtables(ns: HeldNamespace) -> Ruleset:
    """All legacy tables of a namespace, IPv4 and IPv6; empty where there are none."""
    hooks: list[Hook] = []
    chains: dict[tuple[str, str, str], list[Rule]] = {}
    with entered(ns.path):
        for version in (_V4, _V6):
            names = Path("/proc/thread-self/net", version.names)
            for table in names.read_text().split() if names.exists() else ():
                run = _read_table(version, table)
                if run is not None:
                    chains |= _parse_chains(version, table, run)
                    hooks += (
                        Hook(version.family, number, table, run.names[offset])
                        for number, offset in run.entry_points.items()
                    )
    return Ruleset("iptables", tuple(hooks), chains)


@dataclass(frozen=True)
class _Run:
    """A table as the kernel gives it: entries end to end.

    A built-in chain starts at its entry point and ends with its policy (``policies``: offsets); a
    chain of the user's starts behind an entry that is its title.
    """

    entry_points: dict[int, int]
    policies: frozenset[int]
    entries: bytes

    @property
    def names(self) -> dict[int, str]:
        """The names of the built-in chains, by the offset of their first entry."""
        return {offset: _BUILT_IN[number] for number, offset in self.entry_points.items()}


def _read_table(version: _Version, table: str) -> _Run | None:
    """A table of the thread's namespace; None where it has just gone."""
    name = table.encode().ljust(32, b"\0")
    with socket.socket(version.socket, socket.SOCK_DGRAM) as one:  # a raw one needs CAP_NET_RAW
        info = _getsockopt(one, version.level, _GET_INFO, name.ljust(84, b"\0"))
        if info is None:
            return None
        valid, *offsets, _, size = struct.unpack_from("=I10I2I", info, 32)
        request = (name + struct.pack("=I", size)).ljust(40 + size, b"\0")
        entries = _getsockopt(one, version.level, _GET_ENTRIES, request)
    if entries is None:
        return None
    hooks = [hook for hook in range(len(_BUILT_IN)) if valid & 1 << hook]
    policies = frozenset(offsets[len(_BUILT_IN) + hook] for hook in hooks)
    return _Run({hook: offsets[hook] for hook in hooks}, policies, entries[40:])


def _getsockopt(one: socket.socket, level: int, option: int, request: bytes) -> bytes | None:
    """getsockopt(2) whose buffer is also the question, which Python's own cannot ask."""
    buffer = ctypes.create_string_buffer(request, len(request))
    length = ctypes.c_uint32(len(request))
    if _libc.getsockopt(one.fileno(), level, option, buffer, ctypes.byref(length)):
        return None
    return buffer.raw


def _parse_chains(
    version: _Version, table: str, run: _Run
) -> dict[tuple[str, str, str], list[Rule]]:
    """The rules of a table, chain by chain, numbered as ``iptables -L --line-numbers`` does."""
    entries = list(_split(version, run.entries))
    names = run.names
    for offset, entry in entries:
        if (title := _title(version, entry)) is not None:
            names[offset + len(entry)] = title
    chains: dict[tuple[str, str, str], list[Rule]] = {}
    chain: list[Rule] = []
    for offset, entry in entries:
        if offset in names:
            name, chain = names[offset], []
            chains[version.family, table, name] = chain
        if _title(version, entry) is None:
            label = "the policy" if offset in run.policies else f"rule {len(chain) + 1} of {name}"
            chain.append(_rule(version, entry, offset, label, names))
    return chains


def _split(version: _Version, entries: bytes) -> Iterator[tuple[int, bytes]]:
    """(offset, entry) of each entry."""
    offset = 0
    while offset + version.head <= len(entries):
        (length,) = struct.unpack_from("=H", entries, offset + version.target + 2)
        if length < version.head:
            return
        yield offset, entries[offset : offset + length]
        offset += length


def _title(version: _Version, entry: bytes) -> str | None:
    """The chain that this entry gives a name to; None for an ordinary rule."""
    (offset,) = struct.unpack_from("=H", entry, version.target)
    if _text(entry[offset + 2 : offset + 31]) != "ERROR":
        return None
    return _text(entry[offset + 32 : offset + 62])


def _rule(version: _Version, entry: bytes, offset: int, label: str, names: dict[int, str]) -> Rule:
    (end,) = struct.unpack_from("=H", entry, version.target)
    target = _text(entry[end + 2 : end + 31])
    tests, unclear = _conditions(version, entry, end)
    acts, verdict, jump = "", "", ""
    if target:
        acts = "" if target in COUNTING_TARGETS else target
    else:
        (code,) = struct.unpack_from("=i", entry, end + 32)
        if code < 0:
            acts, verdict = "queue" if code == _QUEUE else "", _VERDICTS.get(code, "")
        elif code != offset + len(entry):  # that would be a rule without a target
            verdict = "goto" if entry[version.flags] & _GOTO else "jump"
            jump = names.get(code, "")
    return Rule(
        label=label,
        tests=tuple(tests),
        unclear=unclear,
        acts=acts,
        counts=target in COUNTING_TARGETS,
        verdict=verdict,
        target=jump,
    )


def _text(raw: bytes) -> str:
    return raw.split(b"\0")[0].decode()


def _conditions(version: _Version, entry: bytes, end: int) -> tuple[list[Test], bool]:
    """The tests of an entry, and whether there are more than we understand."""
    size, inversion = version.address, entry[version.inversion]
    source, destination, source_mask, destination_mask = (
        entry[size * index : size * (index + 1)] for index in range(4)
    )
    tests = [
        Test("network", version.source, source, source, source_mask, bool(inversion & _NOT_SOURCE)),
        Test(
            "network",
            version.destination,
            destination,
            destination,
            destination_mask,
            bool(inversion & _NOT_DESTINATION),
        ),
    ]
    names = entry[4 * size : 4 * size + 64]
    for index, (part, flag) in enumerate((("iifname", _NOT_IN), ("oifname", _NOT_OUT))):
        name, mask = (names[16 * i : 16 * (i + 1)] for i in (index, index + 2))
        tests.append(Test(part, 0, name, name, mask, bool(inversion & flag)))
    (protocol,) = struct.unpack_from("=H", entry, version.protocol)
    if protocol:
        tests.append(equals("l4proto", 0, bytes([protocol]), bool(inversion & _NOT_PROTOCOL)))
    unclear = False
    offset = version.head
    while offset < end:
        length, name = struct.unpack_from("=H29s", entry, offset)
        found = match_tests(_text(name), entry[offset + 32 : offset + length])
        unclear |= found is None
        tests += found or []
        offset += max(length, 32)
    return [test for test in tests if any(test.mask)], unclear


def match_tests(name: str, info: bytes) -> list[Test] | None:
    """The tests of an iptables extension; None for one that we cannot tell.

    ``udp`` and ``tcp`` start with source and destination ports (low, high), in host byte order;
    their inversion flags are in the byte that says so for each.
    """
    if name == "comment":
        return []
    if name not in _PORTS or len(info) < 9:
        return None
    ports = struct.unpack_from("=4H", info)
    inversion = info[8] if name == "udp" else info[11]
    tests = []
    for index, flag in ((0, 1), (1, 2)):
        low, high = ports[2 * index : 2 * index + 2]
        if (low, high) != (0, 0xFFFF) or inversion & flag:
            least, most = struct.pack("!H", low), struct.pack("!H", high)
            not_these = bool(inversion & flag)
            tests.append(Test("transport", 2 * index, least, most, b"\xff\xff", not_these))
    # A look at the options or flags of TCP is more than ports.
    return tests if name == "udp" or not any(info[8:11]) else None
