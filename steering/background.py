"""Going on without a terminal."""

import os
import signal
from collections.abc import Callable
from itertools import pairwise

_FIRST = 3
"""The descriptors below are stdin, stdout and stderr."""
_KILLED = 128
"""A shell adds the signal's number."""


def close_all(*keep: int, streams: bool = True) -> None:
    """Close every descriptor but these: whoever waits for the others' end need not wait for us.

    With ``streams`` stdin, stdout and stderr lead nowhere.
    """
    for low, high in pairwise([_FIRST - 1, *sorted(keep), os.sysconf("SC_OPEN_MAX")]):
        os.closerange(low + 1, high)
    if streams:
        _to_nowhere()


def fork_away() -> Callable[[], None]:
    """The caller goes on as a child in a session of its own, without stdin and stdout.

    What was the caller ends when the child calls what this returns, with exit code 0, or when the child ends,
    with its exit code. Until then the child says on stderr what there is to say.
    """
    reading, writing = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child:
        os.close(writing)
        _relay(reading, child)
    os.setsid()
    os.chdir("/")
    close_all(writing, streams=False)

    def ready() -> None:
        _to_nowhere()
        os.write(writing, b"1")
        os.close(writing)

    return ready


def _relay(reading: int, child: int) -> None:
    try:
        ready = os.read(reading, 1)
    except BaseException:  # ^C: the child has a session of its own, and does not hear it
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)
        raise
    if ready:
        raise SystemExit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    raise SystemExit(code if code >= 0 else _KILLED - code)


def _to_nowhere() -> None:
    nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for stream in range(_FIRST):
        os.dup2(nowhere, stream)
    os.close(nowhere)
