"""Who holds a network namespace's NICs: one process attaches there at a time.

The lock is the kernel's (flock), so it is let go of however its holder ends. The file says who holds it.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from steering.errors import OversprayError

FOLDER = Path("/run/overspray/attached")


@contextmanager
def held(inode: int, device: str) -> Iterator[None]:
    """Nobody else attaches in that network namespace until the block ends; OversprayError says who does."""
    path = FOLDER / str(inode)
    try:
        FOLDER.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise OversprayError(f"can't open {path}: {error.strerror}") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OversprayError(f"attach to '{device}': {_holder(handle)}") from None
        words = json.dumps({"pid": os.getpid(), "device": device}).encode()
        os.pwrite(handle, words, 0)
        os.ftruncate(handle, len(words))
        yield
        os.ftruncate(handle, 0)
    finally:
        os.close(handle)  # which unlocks


def _holder(handle: int) -> str:
    with suppress(OSError, ValueError, KeyError, TypeError):
        found = json.loads(os.pread(handle, 4096, 0))
        pid, device = int(found["pid"]), str(found["device"])
        return f"process {pid} is attached to '{device}' in this network namespace: type 'kill {pid}' first"
    return "another process is attached in this network namespace: end that first"
