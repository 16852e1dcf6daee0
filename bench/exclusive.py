"""One lab at a time on a machine: two that send at once would measure each other.

The lock is the kernel's (flock), so it is let go of however its holder ends. The file says who holds it.
"""

import errno
import fcntl
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from steering.errors import OversprayError

VARIABLE = "OVERSPRAY_LOCK"
"""Another lock file, for those who must not wait for each other: the tests."""
LOCK = Path(os.environ.get(VARIABLE) or "/run/overspray/lab.lock")


@contextmanager
def lab_lock() -> Iterator[None]:
    """The only lab until the block ends; OversprayError says who holds it."""
    try:
        LOCK.parent.mkdir(exist_ok=True)
        handle = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        hint = ": type it as root" if error.errno in (errno.EACCES, errno.EPERM) else ""
        raise OversprayError(f"can't open {LOCK}: {error.strerror}{hint}") from None
    try:
        _lock(handle)
        words = json.dumps(_me()).encode()
        os.pwrite(handle, words, 0)
        os.ftruncate(handle, len(words))
        try:
            yield
        finally:
            os.ftruncate(handle, 0)
    finally:
        os.close(handle)  # which unlocks


def holder() -> str:
    """Who holds the lock, for a person; empty where nobody does."""
    try:
        found = json.loads(LOCK.read_text())
        return f"process {found['pid']} ('{found['command']}', since {found['since']})"
    except (OSError, ValueError):
        return ""


def _lock(handle: int) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OversprayError(
            f"a lab is in use by {holder() or 'another process'}: type it again when that has ended"
        ) from None


def _me() -> dict[str, object]:
    words = [Path(sys.argv[0]).name, *sys.argv[1:]]
    since = time.strftime("%H:%M:%S")
    return {"pid": os.getpid(), "command": " ".join(words)[:200], "since": since}
