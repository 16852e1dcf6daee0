"""Files that are written whole or not at all, also where there is no room left for them."""

import errno
import os
from pathlib import Path

from steering.errors import OversprayError


def append(path: Path, data: bytes) -> None:
    """Add ``data`` at the end of a file, in one piece, or leave the file as it is.

    Raises:
        OversprayError: it can't be written (the disk is full).
    """
    try:
        with path.open("ab", buffering=0) as file:
            before = os.fstat(file.fileno()).st_size
            if file.write(data) != len(data):  # the room ended within
                os.ftruncate(file.fileno(), before)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        raise not_written(path, error) from None


def replace(path: Path, text: str) -> None:
    """Make a file hold ``text``, or leave it as it is. Raises as :func:`append`."""
    fresh = path.with_name(path.name + ".new")
    try:
        fresh.write_text(text)
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise not_written(path, error) from None


def not_written(path: Path, error: OSError) -> OversprayError:
    """The line that says so."""
    return OversprayError(f"write '{path}': {error.strerror}: what it held before is kept")
