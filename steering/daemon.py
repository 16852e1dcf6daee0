"""Leave the terminal: the command returns once its child says that it has started."""

import os
import signal
import sys
from collections.abc import Callable

_STARTED = b"1"
_FILES = 1 << 16


def detached() -> Callable[[], None] | int:
    """Fork, before there are threads. The child goes on with its caller's stdin, stdout and stderr.

    Returns, in the child, the function to call once it has started: that lets go of them and of
    the parent. In the parent, once the child has started or ended: the exit code, 0 if it has
    started. What went wrong the child has said itself.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    read, write = os.pipe()
    child = os.fork()
    if child:
        os.close(write)
        return _wait(child, read)
    os.setsid()
    close_inherited(write)
    return lambda: _let_go(write)


def close_inherited(keep: int) -> None:
    """Close the caller's files: a lock that it holds would be held as long as we live."""
    os.closerange(3, keep)
    os.closerange(keep + 1, _FILES)


def _let_go(write: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os.chdir("/")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    os.close(nowhere)
    try:
        os.write(write, _STARTED)
    except BrokenPipeError:  # who called us is gone; that is no reason to end
        pass
    finally:
        os.close(write)


def _wait(child: int, read: int) -> int:
    """Until the child has started or ended; the exit code."""
    try:
        if os.read(read, 1) == _STARTED:
            return 0
        return _ended(child)
    except BaseException:  # interrupted: then the child is not wanted any more
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)
        raise
    finally:
        os.close(read)


def _ended(child: int) -> int:
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code < 0:
        name = signal.Signals(-code).name
        print(f"overspray: ended by {name} before it was attached", file=sys.stderr)
        return 1
    return code or 1
