"""What stock Linux loses, by stage, as the kernel itself counts it: backlogs, IP, UDP, devices.

The kernel may count one packet at several places: what a full backlog refuses is in ``rx_dropped`` of its
device too, and in ``tx_dropped`` of the veth that sent it. So the stages tell where, and their sum nothing.
A packet that GRO has made counts as one.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from steering import netns
from steering.closing import Closing

_SOFTNET = Path("/proc/net/softnet_stat")
_DROPPED, _WAITING = 1, 11
"""Columns of softnet_stat (softnet_seq_show in the kernel's net/core/net-procfs.c)."""
_PROTOCOLS = {
    ("Ip", "InDiscards"): "ip.discarded",
    ("Ip", "ReasmFails"): "ip.not_reassembled",
    ("Udp", "NoPorts"): "udp.no_port",
    ("Udp", "RcvbufErrors"): "udp.socket_full",
    ("Udp", "InCsumErrors"): "udp.bad_checksum",
    ("Udp", "InErrors"): "udp.error",  # the two before as well, and what a socket's filter drops
}
_RX_DROPPED, _TX_DROPPED = 3, 11
"""Columns of /proc/net/dev. The first holds rx_missed as well (dev_seq_printf_stats, the same file)."""


class Losses(Closing):
    """Counters of the named namespaces, whose files it keeps open: reading needs no entering.

    A context manager; until it is closed, the namespaces stay, even if their names are removed.
    OversprayError where there is no such namespace.
    """

    def __init__(self, namespaces: Sequence[str]) -> None:
        with ExitStack() as stack:  # what was opened is closed if the rest fails
            self._files = [
                (opened(stack, namespace, name), read)
                for namespace in namespaces
                for name, read in (("snmp", protocols), ("snmp6", protocols6), ("dev", devices))
                if Path(f"/proc/net/{name}").exists()  # a kernel without IPv6 has no snmp6
            ]
            self._stack = stack.pop_all()

    def close(self) -> None:
        """Let go of the namespaces. Closing twice is harmless."""
        self._stack.close()

    def read(self) -> dict[str, int]:
        """Packets lost since boot, by ``stage.name``: ``udp.no_port``, ``device.nic0.rx_dropped``.

        Namespaces are added up, and so are devices of one name. ``backlog.full`` is the whole machine's.
        """
        found = Counter({"backlog.full": softnet(_SOFTNET.read_text(), _DROPPED)})
        for file, read in self._files:
            found.update(read(text_of(file)))
        return dict(found)


def by_stage(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """What was lost between two readings, by stage and name; what was not is left out."""
    stages: dict[str, dict[str, int]] = {}
    for name, count in after.items():
        if lost := count - before.get(name, 0):
            stage, _, what = name.partition(".")
            stages.setdefault(stage, {})[what] = lost
    return stages


def waiting() -> int:
    """Packets that wait now in the backlogs of all cores. 0 before Linux 5.10, which does not tell."""
    return softnet(_SOFTNET.read_text(), _WAITING)


def softnet(text: str, column: int) -> int:
    """One column of softnet_stat, added up over the cores; one that this kernel lacks is 0."""
    return sum(int(row[column], 16) for line in text.splitlines() if len(row := line.split()) > column)


def protocols(text: str) -> dict[str, int]:
    """The losses that /proc/net/snmp tells: for each protocol a line of names, then one of values."""
    found = {}
    lines = [line.split() for line in text.splitlines()]
    for names, values in zip(lines[::2], lines[1::2], strict=True):
        for name, value in zip(names[1:], values[1:], strict=True):
            if ours := _PROTOCOLS.get((names[0].rstrip(":"), name)):
                found[ours] = int(value)
    return found


def protocols6(text: str) -> dict[str, int]:
    """The same of IPv6, under the same names; /proc/net/snmp6 has a name and its value on each line."""
    named = {f"{protocol}6{name}": ours for (protocol, name), ours in _PROTOCOLS.items()}
    rows = (line.split() for line in text.splitlines())
    return {named[name]: int(value) for name, value in rows if name in named}


def devices(text: str) -> dict[str, int]:
    """What each device of /proc/net/dev has dropped. Before its numbers are two lines of titles."""
    found = {}
    for line in text.splitlines()[2:]:
        name, _, numbers = line.rpartition(":")  # an alias has a colon of its own
        values = numbers.split()
        found[f"device.{name.strip()}.rx_dropped"] = int(values[_RX_DROPPED])
        found[f"device.{name.strip()}.tx_dropped"] = int(values[_TX_DROPPED])
    return found


def opened(stack: ExitStack, namespace: str, name: str) -> int:
    """/proc/net/NAME of a namespace, until the stack is closed: for :func:`text_of`."""
    with netns.entered(namespace):
        file = os.open(f"/proc/thread-self/net/{name}", os.O_RDONLY | os.O_CLOEXEC)
    stack.callback(os.close, file)
    return file


def text_of(file: int) -> str:
    """All of a file of /proc, made anew: it gives a part at a time."""
    text = b""
    while part := os.pread(file, 1 << 16, len(text)):
        text += part
    return text.decode()
