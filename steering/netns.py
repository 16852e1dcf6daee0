"""Network namespaces: make, rename, list and remove named ones; put a thread into one and back.

Everything here concerns one *thread*: the rest of the process stays where it is. A thread inside a
namespace opens its sockets there, netlink and bpf links included, and sees its /proc/sys/net.
(pyroute2's NetNS() forks for each socket, and makes the namespace that it does not find.)
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pyroute2 import netns as pyroute_netns

from steering.errors import OversprayError
from steering.libc import CLONE_NEWNET, setns, unshare

RUN = Path("/run/netns")
OWN = ""
"""In place of a name: the namespace that the calling thread is in."""
_HERE = Path("/proc/thread-self/ns/net")


@contextmanager
def entered(name: str) -> Iterator[None]:
    """The calling thread is in the named namespace until the block ends."""
    with _coming_back():
        with opened(name) as handle:
            try:
                setns(handle, CLONE_NEWNET)
            except OSError as error:  # EINVAL: the bare file that a killed maker left
                raise OversprayError(f"enter network namespace '{name}': {error.strerror}") from error
        yield


@contextmanager
def opened(name: str) -> Iterator[int]:
    """A descriptor of the named namespace. OversprayError where there is none."""
    try:
        handle = os.open(_path(name), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise OversprayError(f"no network namespace '{name}': type 'overspray lab show'") from None
    except OSError as error:
        raise OversprayError(f"open network namespace '{name}': {error.strerror}") from error
    try:
        yield handle
    finally:
        os.close(handle)


@contextmanager
def inside(handle: int) -> Iterator[None]:
    """The calling thread is in the namespace behind a descriptor until the block ends. Raises OSError."""
    with _coming_back():
        setns(handle, CLONE_NEWNET)
        yield


@contextmanager
def nameless() -> Iterator[None]:
    """The calling thread is in a new namespace that ends, devices and all, with the block."""
    with _coming_back():
        try:
            unshare(CLONE_NEWNET)
        except OSError as error:
            raise OversprayError(f"no new network namespace: {error.strerror}") from error
        yield


def create(name: str) -> None:
    """Make a named namespace, as ``ip netns add`` does; OversprayError where the name is taken."""
    try:
        with nameless():
            pyroute_netns.attach(name, "thread-self")
    except OSError as error:
        raise OversprayError(f"create network namespace '{name}': {error.strerror}") from None


def rename(old: str, new: str) -> None:
    """Give a namespace another name. At every moment it has one of the two, or both."""
    try:
        with entered(old):
            pyroute_netns.attach(new, "thread-self")
    except OSError as error:
        raise OversprayError(f"rename namespace '{old}' to '{new}': {error.strerror}") from None
    remove(old)


def remove(name: str) -> None:
    """Remove a name, or what a killed maker left of it; no error where there is nothing.

    The namespace and its devices go when the last process and the last socket inside are gone.
    """
    with suppress(FileNotFoundError):  # another process may have been quicker
        pyroute_netns.remove(name)


def names() -> list[str]:
    """All names, sorted; also of bare files, which killed makers leave."""
    return sorted(pyroute_netns.listnetns())


def exists(name: str) -> bool:
    """Whether a name stands for a namespace: the bare file of a killed maker does not."""
    try:
        return _path(name).stat().st_dev == _HERE.stat().st_dev  # nsfs, where all namespaces are
    except OSError:
        return False


def inode(name: str) -> int:
    """The number by which the kernel tells it from others; OversprayError where there is none."""
    if not exists(name):
        raise OversprayError(f"no network namespace '{name}': type 'overspray lab show'")
    return _path(name).stat().st_ino


def index(device: str) -> int:
    """The ifindex of a device of the calling thread's namespace; OversprayError where there is none."""
    try:
        return socket.if_nametoindex(device)
    except OSError:
        raise OversprayError(f"no device '{device}' in this network namespace: type 'ip link'") from None


def processes(name: str) -> list[int]:
    """The processes that live in a named namespace."""
    with suppress(OSError):
        inode = (RUN / name).stat().st_ino
        return [int(path.parts[2]) for path in Path("/proc").glob("[0-9]*/ns/net") if _inode(path) == inode]
    return []


def _path(name: str) -> Path:
    return _HERE if name == OWN else RUN / name


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:  # gone meanwhile, or somebody else's
        return None


@contextmanager
def _coming_back() -> Iterator[None]:
    home = os.open(_HERE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        try:
            setns(home, CLONE_NEWNET)
        finally:
            os.close(home)
