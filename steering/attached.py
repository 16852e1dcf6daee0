"""Who holds a NIC: one process attaches to it at a time.

The lock is the kernel's (flock), so it is let go of however its holder ends. The file says who holds it.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from steering.errors import OversprayError
from steering.inventory import Device

FOLDER = Path("/run/overspray/attached")


@contextmanager
def held(nic: Device) -> Iterator[None]:
    """Nobody else attaches to that NIC until the block ends; OversprayError says who does."""
    path = FOLDER / f"{nic.namespace.inode}-{nic.index}"
    try:
        FOLDER.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise OversprayError(f"can't open {path}: {error.strerror}") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OversprayError(f"attach to '{nic.name}': {_holder(handle)}") from None
        holder = {"pid": os.getpid(), "device": nic.name, "namespace": nic.namespace.label}
        words = json.dumps(holder).encode()
        os.pwrite(handle, words, 0)
        os.ftruncate(handle, len(words))
        yield
        os.ftruncate(handle, 0)
    finally:
        os.close(handle)  # which unlocks


def _holder(handle: int) -> str:
    with suppress(OSError, ValueError, KeyError, TypeError):
        pid = int(json.loads(os.pread(handle, 4096, 0))["pid"])
        return f"process {pid} is attached to it: type 'kill {pid}' first"
    return "another process is attached to it: end that first"
