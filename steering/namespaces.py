"""Every network namespace of this host that can be reached, and how to open each.

What keeps a namespace alive is a process in it, a file that it is mounted on (``ip netns``, Docker, CNI), or
an open descriptor. Files are looked for in the mount tables, not in folders: those hold stale files as well,
and a container engine may have a mount namespace of its own, which is looked into through a process of it.
"""

import errno
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from steering import netns
from steering.inventory import Namespace
from steering.owner import start_of

MOST_DESCRIPTORS = 100_000
"""So many are looked at: some 0.2 s. Few namespaces are held by nothing else."""
_NSFS = re.compile(r"net:\[(\d+)\]")
_OCTAL = re.compile(r"\\([0-7]{3})")
_PROC, _HERE = Path("/proc"), "/proc/thread-self/ns/net"


@dataclass
class Found:
    """Namespaces by inode."""

    spaces: dict[int, Namespace] = field(default_factory=dict)
    complete: bool = True
    """Whether all open descriptors were looked at."""

    def add(self, inode: int, path: str, name: str = "", pid: int | None = None) -> None:
        """The first way to open one is kept, a name and a process wherever they come from."""
        known = self.spaces.setdefault(inode, Namespace(inode, path, name, pid))
        self.spaces[inode] = replace(
            known,
            # A name is what other tools take: the file that has it is the best way in.
            path=path if name and not known.name else known.path,
            name=known.name or name,
            pid=pid if known.pid is None else known.pid,
        )


def find() -> Found:
    """All of them. What vanishes meanwhile, or is somebody else's, is left out."""
    found = Found()
    for inode, path in mounts(_read(_PROC / "thread-self/mountinfo")):
        found.add(inode, path, _name(path))
    mount_spaces = {_inode("/proc/thread-self/ns/mnt")}
    pids = _oldest_first(int(each.name) for each in _PROC.iterdir() if each.name.isdecimal())
    for pid in pids:
        if inode := _inode(f"/proc/{pid}/ns/net"):
            found.add(inode, f"/proc/{pid}/ns/net", pid=pid)
        space = _inode(f"/proc/{pid}/ns/mnt")
        if space not in mount_spaces:
            mount_spaces.add(space)
            for inode, path in mounts(_read(_PROC / f"{pid}/mountinfo")):
                found.add(inode, f"/proc/{pid}/root{path}")
    found.add(own(), _HERE)  # a thread's own may be neither a file's nor a process'
    found.complete = _descriptors(found, pids)
    return found


def own() -> int:
    """The inode of the calling thread's own."""
    return _inode(_HERE)


@contextmanager
def opened(space: Namespace) -> Iterator[int]:
    """A descriptor of it. OSError where it is gone, or its path leads elsewhere by now."""
    # Without opening it yet: a path in a container's mount namespace could be a device or a pipe by now.
    place = os.open(space.path, os.O_PATH | os.O_CLOEXEC)
    try:
        there, kind = os.fstat(place), Path(_HERE).stat().st_dev
        if (there.st_ino, there.st_dev) != (space.inode, kind):
            raise FileNotFoundError(errno.ENOENT, "another namespace by now", space.path)
        handle = os.open(f"/proc/thread-self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(place)
    try:
        yield handle
    finally:
        os.close(handle)


def mounts(table: str) -> Iterator[tuple[int, str]]:
    """Inode and file of each network namespace in a mount table (proc_pid_mountinfo(5))."""
    for line in table.splitlines():
        fields = line.split(" ")
        if len(fields) > 4 and (found := _NSFS.fullmatch(fields[3])):
            yield int(found[1]), _OCTAL.sub(lambda code: chr(int(code[1], 8)), fields[4])


def _oldest_first(pids: Iterable[int]) -> list[int]:
    """Those that live, for the way into a namespace leads through the first: one that has just begun may be
    gone before it is used, as with all that an engine runs for a moment, whatever number it has."""
    started = {pid: start for pid in pids if (start := start_of(pid)) is not None}
    return sorted(started, key=lambda pid: (started[pid], pid))


def _name(path: str) -> str:
    file = Path(path)
    return file.name if file.parent in (netns.RUN, Path("/var/run/netns")) else ""


def _descriptors(found: Found, pids: list[int]) -> bool:
    """Add what nothing but an open descriptor holds; False where there were too many to look at all."""
    left = MOST_DESCRIPTORS
    for pid in pids:
        with suppress(OSError), os.scandir(f"/proc/{pid}/fd") as descriptors:
            for each in descriptors:
                left -= 1
                if left < 0:
                    return False
                if inode := _NSFS.fullmatch(_target(each.path)):
                    found.add(int(inode[1]), each.path)
    return True


def _target(path: str) -> str:
    try:
        return os.readlink(path)  # noqa: PTH115  # there are many, and a Path is slow
    except OSError:  # closed meanwhile
        return ""


def _inode(path: str) -> int:
    """0 where it is gone, or somebody else's."""
    try:
        return Path(path).stat().st_ino
    except OSError:
        return 0


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="surrogateescape")
    except OSError:
        return ""
