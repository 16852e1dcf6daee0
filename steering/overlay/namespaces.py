"""Every network namespace of this host, held open: named, hidden, or known by a process only."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

from steering.capabilities import require
from steering.closing import Closing
from steering.errors import OversprayError
from steering.netns import Namespace, entered, path_of

_PROC = Path("/proc")
_NETNS_COOKIE = 71
_OF_A_PROCESS = "/ns/net"


class HeldNamespace:
    """A namespace kept open, so that it can be entered though it may have no name.

    Two are equal while both are held and the kernel says they are one namespace (the same inode,
    which is not used again as long as somebody holds it). One that was let go equals only itself.
    Holding also keeps a namespace alive, so its holder must let go (:meth:`close`) once nothing
    else leads to it.
    """

    def __init__(self, found_at: str) -> None:
        """Open the namespace that a file stands for; OSError where there is none."""
        self.found_at = found_at
        self._fd = os.open(found_at, os.O_RDONLY | os.O_CLOEXEC)
        self.inode = os.fstat(self._fd).st_ino

    @property
    def fd(self) -> int:
        """The open descriptor, to hand to the kernel.

        Raises:
            OversprayError: it was let go.
        """
        if self._fd < 0:
            raise OversprayError(f"network namespace '{self}' is gone")
        return self._fd

    @property
    def cookie(self) -> int:
        """The kernel's own number for it, which no other namespace ever has."""
        with entered(self.path):
            one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with one:
            return int.from_bytes(one.getsockopt(socket.SOL_SOCKET, _NETNS_COOKIE, 8), "little")

    @property
    def path(self) -> str:
        """A file of this process for the namespace, as :func:`steering.netns.entered` takes it."""
        return f"/proc/self/fd/{self.fd}"

    @property
    def name(self) -> str:
        """What a person calls it: the name in a folder ``netns``, or the file it was found at."""
        return self.found_at.rsplit("/netns/", 1)[-1]

    def close(self) -> None:
        """Let go of it."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __eq__(self, other: object) -> bool:
        if self is other or not isinstance(other, HeldNamespace):
            return self is other
        return self.inode == other.inode and self._fd >= 0 and other._fd >= 0

    def __hash__(self) -> int:
        return self.inode

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"HeldNamespace({self.found_at!r}, inode={self.inode})"


class Namespaces(Closing):
    """The namespaces of this host, by inode; :meth:`scan` brings them up to date.

    A context manager: at its end all of them are let go.
    """

    def __init__(self) -> None:
        self._held: dict[int, HeldNamespace] = {}
        self._unlisted: set[int] = set()

    def __iter__(self) -> Iterator[HeldNamespace]:
        return iter(tuple(self._held.values()))

    def scan(self) -> tuple[list[HeldNamespace], list[HeldNamespace]]:
        """Look again. Returns the new ones, and those to which nothing but us leads any more.

        The latter are let go, so that the kernel can end them as it would have done without us.
        """
        found = _find_all()
        fresh = []
        for inode, path in found.items():
            if inode in self._held:
                if not path.endswith(_OF_A_PROCESS):  # which may have moved on since
                    self._held[inode].found_at = path
                continue
            if (held := _open(path)) is None:
                continue
            if self._held.setdefault(held.inode, held) is held:
                fresh.append(held)
            else:  # the path leads elsewhere by now
                held.close()
        vanished = self._held.keys() - found.keys() - self._unlisted
        gone = [self._held.pop(inode) for inode in vanished]
        for held in gone:
            held.close()
        return [held for held in fresh if held not in gone], gone

    def get(self, ns: Namespace) -> HeldNamespace:
        """The held one that a name, path or process id leads to.

        Raises:
            OversprayError: there is no such namespace.
        """
        path = path_of(ns)
        try:
            held = HeldNamespace(str(path))
        except OSError as error:
            raise OversprayError(f"no network namespace '{ns}': {error.strerror}") from None
        known = self._held.setdefault(held.inode, held)
        if known is not held:
            held.close()
        elif held.inode not in _find_all():
            # Known to the caller alone (a descriptor, a thread): a scan would take it for gone.
            self._unlisted.add(held.inode)
        return known

    def keep(self, wanted: frozenset[HeldNamespace]) -> None:
        """Let go of all others."""
        for inode, held in [*self._held.items()]:
            if held not in wanted:
                self._held.pop(inode).close()

    def close(self) -> None:
        """Let go of all."""
        while self._held:
            self._held.popitem()[1].close()


def _open(path: str) -> HeldNamespace | None:
    """The namespace behind a path, or None where its process or its name has just gone.

    Raises:
        OversprayError: it is behind a closed folder, as Docker's are: not seen, it is not served.
    """
    try:
        return HeldNamespace(path)
    except PermissionError:
        require(f"opening network namespace '{path}'", "CAP_DAC_READ_SEARCH")
        return None
    except OSError:
        return None


def _find_all() -> dict[int, str]:
    """Inode -> a file that leads to it, the steadiest there is: a name, else a process.

    Names are bind mounts (``ip netns``, Docker, CNI), each visible in a mount namespace only; a
    Docker engine may run in one of its own.
    """
    named: dict[int, str] = {}
    by_process: dict[int, str] = {}
    mounts_read = set()
    home = Path("/proc/self/ns/mnt").readlink()
    pids = sorted(int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit())
    for process in (_PROC / str(pid) for pid in (os.getpid(), *pids)):
        try:
            net = Path(f"{process}{_OF_A_PROCESS}")
            by_process.setdefault(_inode(str(net.readlink())), str(net))
            mounts = (process / "ns/mnt").readlink()
            if mounts not in mounts_read:
                root = "" if mounts == home else f"{process}/root"
                for inode, path in parse_mountinfo((process / "mountinfo").read_text()):
                    named.setdefault(inode, root + path)
                mounts_read.add(mounts)
        except OSError:  # the process ended while we looked, or is not ours to look at
            continue
    return by_process | named


def parse_mountinfo(text: str) -> list[tuple[int, str]]:
    """(inode, mount point) of the network namespaces that a mountinfo file names.

    Such a line reads ``36 35 0:4 net:[4026532177] /run/netns/blue rw … - nsfs nsfs rw``
    (proc(5)); blanks in a path stand as ``\\040``.
    """
    found = []
    for line in text.splitlines():
        fields = line.split(" ", 5)
        if len(fields) == 6 and fields[3].startswith("net:[") and " - nsfs " in line:
            found.append((_inode(fields[3]), fields[4].replace("\\040", " ")))
    return found


def _inode(link: str) -> int:
    """The number in ``net:[4026531840]``."""
    return int(link[5:-1])
