"""What a soak calls wrong, and what it keeps when something breaks it off."""

from dataclasses import replace
from threading import Event
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bench.soak import SoakSpec, Tally, _Run
from bench.soak_watch import Memory
from steering.errors import OversprayError

GOOD = Tally(packets=10_000)
FLAT, GROWN = Memory(200, 16, 9), Memory(260, 16, 9)


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({}, []),
        ({"missed_by_nic": 10, "stock_path": 10}, []),
        ({"packets": 0}, ["packets"]),
        ({"lost": 1}, ["lost"]),
        ({"doubled": 1, "strays": 1}, ["doubled", "strays"]),
        ({"misdelivered": 1}, ["misdelivered"]),
        ({"unaccounted": 1}, ["unaccounted"]),
        ({"missed_by_nic": 11}, ["missed_by_nic"]),
        ({"stock_path": 11}, ["stock_path"]),
        ({"memory": [FLAT] * 9}, []),
        ({"memory": [FLAT] * 5 + [GROWN] * 4}, ["resident"]),
        ({"memory": [GROWN] * 2 + [FLAT] * 7}, []),
        ({"kernel": ["WARNING: something"]}, ["kernel"]),
        ({"failure": "it broke"}, ["failure"]),
    ],
)
def test_what_is_wrong_has_a_name(change: dict[str, Any], wrong: list[str]) -> None:
    found = replace(GOOD, **change)
    assert found.wrong == wrong
    assert found.ok is (not wrong)
    assert found.as_dict()["wrong"] == wrong


def test_what_breaks_it_off_does_not_take_the_rest_along(monkeypatch: pytest.MonkeyPatch) -> None:
    run = _Run(SoakSpec(seconds=60), *cast(Any, [None] * 5))

    def one_round(_ended: Event) -> None:
        if run.tally.rounds == 2:
            raise OversprayError("the controller has ended")
        run.tally.packets += 100

    monkeypatch.setattr(run, "_round", one_round)
    monkeypatch.setattr(run, "controller", SimpleNamespace(pid=1))
    monkeypatch.setattr(Memory, "of", lambda pid: FLAT)
    told: list[int] = []
    silent = cast(Any, SimpleNamespace(read=list))
    found = run.rounds(Event(), silent, lambda text: None, lambda now: told.append(now.packets))
    assert told == [100, 200]
    assert (found.packets, found.rounds, found.failure) == (200, 2, "the controller has ended")
    assert found.wrong == ["failure"]
