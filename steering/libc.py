"""System calls that Python's standard library does not offer, with errors as OSError."""

import ctypes
import os

CLONE_NEWNET = 0x40000000

# CDLL, not PyDLL: the interpreter's lock is released during a call, so a sending thread blocks nobody.
_libc = ctypes.CDLL(None, use_errno=True)


def syscall(number: int, *arguments: object) -> int:
    """One system call by its number; OSError with the kernel's errno where it failed."""
    return _checked(int(_libc.syscall(number, *arguments)))


def setns(namespace: int, kind: int) -> None:
    """Put the calling *thread* into the namespace behind a file descriptor."""
    _checked(int(_libc.setns(namespace, kind)))


def unshare(kind: int) -> None:
    """Put the calling *thread* into a new namespace of its own."""
    _checked(int(_libc.unshare(kind)))


def recvmmsg(socket: int, messages: int, count: int, flags: int) -> int:
    """How many datagrams it put into the ``struct mmsghdr`` at that address: recvmmsg(2), no time limit."""
    return _checked(int(_libc.recvmmsg(socket, ctypes.c_void_p(messages), count, flags, None)))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
