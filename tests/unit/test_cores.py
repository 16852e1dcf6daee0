"""Core ids: lists with gaps, and which may be used."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steering import cores
from steering.errors import BadInput


def test_ids_have_gaps() -> None:
    found = cores.parse("0,2-3,8-11\n")
    assert found == [0, 2, 3, 8, 9, 10, 11]
    assert (len(found), found[-1]) == (7, 11)


@settings(derandomize=True, deadline=None, database=None)
@given(st.sets(st.integers(0, 300)))
def test_a_list_is_read_as_it_is_written(ids: set[int]) -> None:
    assert cores.parse(cores.form(sorted(ids))) == sorted(ids)


@pytest.mark.parametrize("text", ["x", "1-", "-1", "1-2-3", "1;2"])
def test_what_is_no_list_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="no list of cores"):
        cores.parse(text)


def test_usable_is_what_runs_and_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "online", lambda: [0, 2, 5])
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 5})
    assert cores.usable() == [0, 5]
    cores.require_usable(5)
    with pytest.raises(BadInput, match="core 2 is not to be used here: choose from 0,5"):
        cores.require_usable(2)
