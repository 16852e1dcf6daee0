"""What runs when a controller is killed."""

import pytest

from steering import attached
from steering.controller import put_right_with
from steering.errors import OversprayError
from steering.foreign import Foreign


class Held(Foreign):
    """A program that was taken off."""

    def __init__(self) -> None:
        self.is_back = False

    def put_back(self) -> None:
        self.is_back = True


def test_a_foreign_program_is_back_whatever_else_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OversprayError("not put back: rx-gro of nic0")

    monkeypatch.setattr(attached, "put_right", refuse)
    foreign = Held()
    with pytest.raises(OversprayError, match="rx-gro"):
        put_right_with(foreign)
    assert foreign.is_back
