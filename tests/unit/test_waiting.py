"""Waiting for a condition."""

import pytest

from steering.errors import OversprayError
from steering.waiting import wait_for


def test_it_returns_what_the_condition_returned() -> None:
    answers = iter([0, None, "", "there"])
    assert wait_for(lambda: next(answers), "an answer") == "there"


def test_after_the_deadline_it_says_what_was_missing() -> None:
    seen: list[int] = []
    with pytest.raises(OversprayError, match="gave up after 0 s waiting for 3 packets, have 1"):
        wait_for(lambda: seen.append(1), lambda: f"3 packets, have {len(seen)}", seconds=0)
