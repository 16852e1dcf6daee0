"""Errors meant for a person: one line with what failed, on what, why, and what to type next."""

from collections.abc import Iterable


class OversprayError(Exception):
    """Something failed on this host. The message is one line; the command exits with 1."""

    exit_code = 1


class BadInput(OversprayError):
    """What the user named does not exist or is out of range. The command exits with 2."""

    exit_code = 2


def unknown(kind: str, name: str, allowed: Iterable[str]) -> BadInput:
    """The error for a name that is not one of ``allowed``; the message lists them."""
    return BadInput(f"unknown {kind} '{name}': choose from {', '.join(sorted(allowed))}")
