"""A small process that puts the host right when the one that changed it is killed.

What hangs on bpf links goes by itself, at once. Devices and settings do not: they are the guardian's.
"""

import os
import select
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from steering.background import close_all
from steering.errors import OversprayError


@contextmanager
def guarded(put_right: Callable[[], object], *keep: int) -> Iterator[None]:
    """Until the block ends ``put_right`` is called, by a process of its own, if this one ends before.

    It has the descriptors ``keep``, and no others.
    """
    watched = os.pidfd_open(os.getpid())
    guardian = os.fork()
    if not guardian:
        _watch(watched, put_right, keep)
    os.close(watched)
    try:
        yield
    finally:
        os.kill(guardian, signal.SIGKILL)
        os.waitpid(guardian, 0)


def _watch(watched: int, put_right: Callable[[], object], keep: Sequence[int]) -> None:
    """In the guardian: never returns, whatever happens."""
    try:
        os.setsid()  # ^C at the terminal, and a closed one, are for the other process alone
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        close_all(watched, *keep)
        select.select([watched], [], [])  # until it has ended: its locks are free then, and its programs gone
        with suppress(OversprayError, OSError):  # the next command tries again, and says why
            put_right()
    finally:
        os._exit(0)
