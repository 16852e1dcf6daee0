"""Waiting for a condition, never for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

from steering.errors import OversprayError

T = TypeVar("T")
_POLL_S = 0.001


def wait_for(condition: Callable[[], T], what: Callable[[], str] | str, seconds: float = 20) -> T:
    """Poll until ``condition()`` is true, and return what it returned.

    After ``seconds`` OversprayError says what was waited for: ``what``, or ``what()`` where the last
    state is worth seeing.
    """
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > deadline:
            text = what() if callable(what) else what
            raise OversprayError(f"gave up after {seconds:g} s waiting for {text}")
        time.sleep(_POLL_S)
    return result
