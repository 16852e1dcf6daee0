"""Network namespaces: make, list and remove named ones; put a thread into one and back.

Everything here concerns one *thread*: the rest of the process stays where it is. A thread inside
a namespace opens its sockets there (netlink and BPF links included) and sees its /proc/sys/net.
"""

import ctypes
import errno
import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ParamSpec, TypeVar

from pyroute2 import netns as pyroute_netns

from steering.errors import OversprayError

Namespace = str | int | Path | None
"""A name below /run/netns, a path, a process id, or None for the one the thread is in."""

RUN = Path("/run/netns")
_CLONE_NEWNS, _CLONE_NEWNET = 0x00020000, 0x40000000
_SO_NETNS_COOKIE = 71
_MS_REC, _MS_PRIVATE = 0x4000, 1 << 18

_libc = ctypes.CDLL(None, use_errno=True)
P = ParamSpec("P")
R = TypeVar("R")


def path_of(ns: Namespace) -> Path:
    """The file that stands for a namespace, to open and hand to the kernel."""
    if ns is None:
        return Path("/proc/thread-self/ns/net")
    if isinstance(ns, int):
        return Path(f"/proc/{ns}/ns/net")
    return Path(ns) if "/" in str(ns) else RUN / ns


def identity(ns: Namespace) -> int:
    """The inode number of a namespace: the same for every name, path and pid that leads to it."""
    path = path_of(ns)
    try:
        return path.stat().st_ino
    except OSError as error:
        raise _gone(ns, error) from None


def cookie(ns: Namespace) -> int:
    """The kernel's number for a namespace, which no other one gets before the next boot."""
    with entered(ns), socket.socket(socket.AF_UNIX) as probe:
        try:
            return int.from_bytes(
                probe.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), "little"
            )
        except OSError:  # before Linux 5.14
            return identity(None)


def find(wanted: int, *hints: str) -> Path | None:
    """A path to the namespace of that cookie: one of the hints, else named, else a process's."""
    seen: set[int] = set()
    for path in (*map(Path, hints), path_of(None), *_everywhere()):
        try:
            number = identity(path)
            if number not in seen and cookie(path) == wanted:
                return path
            seen.add(number)
        except OversprayError:
            continue  # gone since it was listed
    return None


@contextmanager
def entered(ns: Namespace) -> Iterator[None]:
    """The calling thread is in the namespace until the block ends; with None it stays put.

    Raises OversprayError where there is no such namespace or no right to enter it.
    """
    if ns is None:
        yield
        return
    home = os.open(path_of(None), os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(ns)
        try:
            yield
        finally:
            _check(_libc.setns(home, _CLONE_NEWNET), "leave network namespace", str(ns))
    finally:
        os.close(home)


def in_namespace(ns: Namespace, fn: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """``fn(*args)`` in a fresh thread inside the namespace, whose /sys shows its devices.

    The mount of /sys is private to that thread and goes with it. Slower than :func:`entered`
    (about a millisecond): for what only sysfs can do, such as RPS masks.
    """
    outcome: list[R] = []
    failure: list[BaseException] = []
    home = os.open(path_of(None), os.O_RDONLY | os.O_CLOEXEC)

    def run() -> None:
        try:
            _enter(ns) if ns is not None else _enter_fd(home, "the caller's")
            _mount_sysfs()
            outcome.append(fn(*args, **kwargs))
        except BaseException as error:  # handed to the caller whatever it is
            failure.append(error)

    thread = threading.Thread(target=run, name=f"in {ns}")
    thread.start()
    try:
        thread.join()
    finally:
        thread.join()  # a signal cut it short: nothing is to be changed behind our back
        os.close(home)
    if failure:
        raise failure[0]
    return outcome[0]


def names(prefix: str = "") -> list[str]:
    """The named namespaces of this host, sorted; leftovers without a namespace are not listed."""
    found = (name for name in pyroute_netns.listnetns() if name.startswith(prefix))
    return sorted(name for name in found if exists(name))


def exists(name: str) -> bool:
    """Whether a named namespace is there; a bare file, as a killed maker leaves, is none."""
    path = RUN / name
    try:
        # A namespace file lives in nsfs, so on another device than the directory it is bound in.
        return path.stat().st_dev != RUN.stat().st_dev and stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def create(name: str) -> None:
    """Make a named namespace (as ``ip netns add`` does); OversprayError if the name is taken.

    A bare file of that name, as a killed maker or a reboot leaves it, is replaced.
    """
    if exists(name):
        raise OversprayError(f"network namespace '{name}' exists already: choose another name")
    remove(name)
    try:
        pyroute_netns.create(name)
    except OSError as error:
        raise _failed("create network namespace", name, error.errno) from None
    if not exists(name):
        raise OversprayError(f"create network namespace '{name}': not permitted, type it as root")


def remove(name: str) -> None:
    """Remove a named namespace or what a killed maker left of it; nothing there is no error.

    Its devices go when the last process or socket inside is gone.
    """
    try:
        pyroute_netns.remove(name)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _failed("remove network namespace", name, error.errno) from None


def _everywhere() -> Iterator[Path]:
    for directory in (RUN, Path("/run/docker/netns")):
        # Docker's is closed to anybody without CAP_DAC_READ_SEARCH.
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            yield from directory.iterdir()
    yield from Path("/proc").glob("[0-9]*/ns/net")


def _enter(ns: Namespace) -> None:
    try:
        handle = os.open(path_of(ns), os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _gone(ns, error) from None
    try:
        _enter_fd(handle, str(ns))
    finally:
        os.close(handle)


def _enter_fd(handle: int, name: str) -> None:
    _check(_libc.setns(handle, _CLONE_NEWNET), "enter network namespace", name)


def _mount_sysfs() -> None:
    """Give the calling thread, and no other, a /sys of the network namespace it is in."""
    _check(_libc.unshare(_CLONE_NEWNS), "unshare mounts", "")
    _check(_libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None), "make private", "/")
    # EBUSY: the very same sysfs is mounted there already (a thread that stayed in its namespace).
    if _libc.mount(b"sysfs", b"/sys", b"sysfs", 0, None) and ctypes.get_errno() != errno.EBUSY:
        raise _failed("mount sysfs on", "/sys", ctypes.get_errno())


def _check(result: int, what: str, name: str) -> None:
    if result != 0:
        raise _failed(what, name, ctypes.get_errno())


def _failed(what: str, name: str, number: int | None) -> OversprayError:
    return OversprayError(f"{what} '{name}': {os.strerror(number or 0)}")


def _gone(ns: Namespace, error: OSError) -> OversprayError:
    return OversprayError(f"no network namespace '{ns}': {error.strerror}")
