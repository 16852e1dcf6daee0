"""tracefs, also where nobody has mounted it: hosts without systemd do not."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from steering.errors import OversprayError

MOUNTED = Path("/sys/kernel/tracing")
# Since Linux 5.2; system calls this young have one number on all architectures.
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
_CLOEXEC, _CMD_CREATE = 1, 6
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def opened() -> Iterator[Path]:
    """A directory with tracefs in it, for the length of the block.

    Where it is not mounted it is mounted for this process alone, in no place: the host's mounts
    stay as they are.

    Raises:
        OversprayError: it is not for this user.
    """
    if _is_mounted():
        yield MOUNTED
        return
    mount = _mount("tracefs")
    try:
        yield Path(f"/proc/self/fd/{mount}")
    finally:
        os.close(mount)


def _is_mounted() -> bool:
    try:
        return (MOUNTED / "events").exists()
    except PermissionError:
        raise OversprayError(f"read {MOUNTED}: permission denied") from None


def _mount(kind: str) -> int:
    """The descriptor of a mounted file system that is attached nowhere."""
    context = _call(_FSOPEN, kind.encode(), _CLOEXEC)
    try:
        _call(_FSCONFIG, context, _CMD_CREATE, None, None, 0)
        return _call(_FSMOUNT, context, _CLOEXEC, 0)
    finally:
        os.close(context)


def _call(number: int, *arguments: object) -> int:
    result = int(_libc.syscall(number, *arguments))
    if result < 0:
        raise OversprayError(f"open tracefs: {os.strerror(ctypes.get_errno())}")
    return result
