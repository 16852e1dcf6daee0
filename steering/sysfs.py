"""A sysfs of the calling thread's network namespace, as a directory that needs no mount point.

/sys shows the devices of the namespace that it was mounted in. A detached mount is nobody else's to see,
and is gone with its descriptor, also after SIGKILL (fsopen(2), fsmount(2): Linux 5.2).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from steering.libc import syscall

_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432  # the same on every architecture
_CLOEXEC, _CONFIG_CREATE = 1, 6


@contextmanager
def opened() -> Iterator[int]:
    """The root of that sysfs, as a directory descriptor for ``dir_fd=``. Raises OSError."""
    context = syscall(_FSOPEN, b"sysfs", _CLOEXEC)
    try:
        syscall(_FSCONFIG, context, _CONFIG_CREATE, None, None, 0)
        root = syscall(_FSMOUNT, context, _CLOEXEC, 0)
    finally:
        os.close(context)
    try:
        yield root
    finally:
        os.close(root)


def write(root: int, path: str, text: str) -> None:
    """Write one attribute below ``root``. Raises OSError."""
    handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=root)
    try:
        os.write(handle, text.encode())
    finally:
        os.close(handle)


def read(root: int, path: str) -> str:
    """One attribute below ``root``, without its line end. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=root)
    try:
        return os.read(handle, 1 << 16).decode().strip()
    finally:
        os.close(handle)
