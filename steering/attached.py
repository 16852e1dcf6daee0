"""Who holds a NIC: one process attaches to it at a time.

The lock is the kernel's (flock), so it is let go of however its holder ends. The file says who holds it; what
it says without a lock is of a holder that was killed, and may have left a helper device.
"""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path

from pyroute2.netlink.exceptions import NetlinkError

from steering import control, hops, namespaces, undo
from steering.errors import BadInput, OversprayError
from steering.inventory import Device
from steering.owner import start_of
from steering.waiting import wait_for

FOLDER = Path("/run/overspray/attached")


@dataclass(frozen=True)
class Holder:
    """A process that is attached to a NIC."""

    pid: int
    device: str
    namespace: str
    """For people."""
    inode: int
    """Of the NIC's network namespace."""
    index: int
    """The NIC's ifindex."""
    start: int
    """When the process began: another one of its number began at another time."""

    def __str__(self) -> str:
        where = "" if self.inode == namespaces.own() else f" of {self.namespace}"
        return f"'{self.device}'{where}"


@contextmanager
def held(nic: Device) -> Iterator[None]:
    """Nobody else attaches to that NIC until the block ends; OversprayError says who does."""
    space, me = nic.namespace, os.getpid()
    mine = Holder(me, nic.name, space.label, space.inode, nic.index, start_of(me) or 0)
    path = FOLDER / f"{mine.inode}-{mine.index}"
    try:
        FOLDER.mkdir(parents=True, exist_ok=True)
        found = _holder_or_lock(path)
    except OSError as error:
        raise OversprayError(f"can't open {path}: {error.strerror}") from None
    if isinstance(found, Holder):
        raise OversprayError(
            f"attach to '{nic.name}': process {found.pid} is attached to it: "
            f"type 'overspray detach {nic.name}' first"
        )
    with found as handle:
        handle.truncate(0)
        handle.write(json.dumps(asdict(mine)).encode())
        try:
            yield
        finally:  # or it would say that we hold it for as long as we live
            path.unlink()


def holders() -> list[Holder]:
    """All that are attached now, by namespace and device; those of the caller's namespace first."""
    found = [holder for path in FOLDER.glob("*") if (holder := _alive(_read_file(path)))]
    own = namespaces.own()
    return sorted(found, key=lambda each: (each.inode != own, each.namespace, each.device))


def choose(device: str = "") -> Holder:
    """The one at a device of that name, or the only one; those in the caller's namespace go first.

    BadInput where there is none, or several.
    """
    there = holders()
    named = [each for each in there if device in ("", each.device)]
    near = [each for each in named if each.inode == namespaces.own()]
    if not near and device not in (name for _, name in socket.if_nameindex()):
        near = named
    if len(near) == 1:
        return near[0]
    if not there:
        raise BadInput("nothing is attached: type 'overspray attach DEVICE'")
    if not near:
        raise BadInput(f"nothing is attached to '{device}': choose from {', '.join(map(str, there))}")
    if len({each.device for each in near}) == len(near):
        raise BadInput(f"{len(near)} devices are attached to: choose from {', '.join(map(str, near))}")
    spaces = ", ".join(each.namespace for each in near)
    raise BadInput(f"'{near[0].device}' is attached to in several network namespaces: enter one of {spaces}")


def put_right() -> None:
    """Undo what holders have left that were killed. Raises OversprayError where that can't be."""
    undo.put_back_leftovers()
    for path in FOLDER.glob("*"):
        found = _holder_or_lock(path)
        if not isinstance(found, Holder):
            with found as handle:
                _clean_up(_read(handle.fileno()))
                path.unlink()


def _clean_up(killed: Holder | None) -> None:
    """Remove the devices and the socket of one whose lock we have now."""
    if killed:
        control.forget(killed.pid)
    if killed and (space := namespaces.find().spaces.get(killed.inode)):
        with suppress(OversprayError, NetlinkError):
            hops.remove_stale(space.path, killed.index)
            return
        # Its guardian may be at it, too: what is gone meanwhile is the way in that it was, or the device.
        if space := namespaces.find().spaces.get(killed.inode):
            hops.remove_stale(space.path, killed.index)


def _alive(holder: Holder | None) -> Holder | None:
    """It, if the process is there, and is the one that wrote this."""
    return holder if holder and start_of(holder.pid) == holder.start else None


def _holder_or_lock(path: Path) -> Holder | FileIO:
    """Who is alive and has it; else the file, locked until it is closed. Raises OSError.

    Who cleans up behind a killed one has the lock for a moment: when that is over, all is right.
    """
    found = wait_for(lambda: _alive(_read_file(path)) or _locked(path), f"the lock {path}")
    assert found is not None
    return found


def _locked(path: Path) -> FileIO | None:
    """The file, locked until it is closed; None where another process has it. Raises OSError."""
    file = FileIO(path, "a+")
    with suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(file.fileno()).st_nlink:  # else its holder has just ended, and taken it away
            return file
    file.close()
    return None


def _read(handle: int) -> Holder | None:
    with suppress(OSError, ValueError, TypeError):
        return Holder(**json.loads(os.pread(handle, 4096, 0)))
    return None


def _read_file(path: Path) -> Holder | None:
    with suppress(OSError), path.open("rb") as file:
        return _read(file.fileno())
    return None
