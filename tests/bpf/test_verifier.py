"""What the verifier has to look at is kept, program by program; growth has to be explained."""

import platform
import sys
from pathlib import Path

import pytest

from steering import registry

sys.path.insert(0, str(Path(__file__).parents[1] / "verifier"))
from counts import LIMIT, Counts, alone, before, counted, grown, read, table

KERNEL = platform.release()


def unexplained(now: Counts) -> list[str]:
    return [
        f"{name}: {was:,} -> {count:,} instructions on {KERNEL}: explain the growth with "
        f"make verifier ARGS='--why \"…\"'"
        for name, was, count in grown(before(read(), KERNEL), now)
    ]


@pytest.mark.root
@pytest.mark.parametrize("policy", registry.names())
def test_a_policys_programs_have_not_grown(policy: str) -> None:
    found = counted(policy)
    assert f"steer: {policy}" in found and "deliver" in found
    assert unexplained(found) == []
    assert all(0 < count < LIMIT for count in found.values())


@pytest.mark.root
def test_what_all_have_in_common_has_not_grown() -> None:
    assert unexplained(alone()) == []


def test_growth_is_told_from_noise() -> None:
    was = {"a": 100, "b": 100, "c": 100}
    now = {"a": 110, "b": 111, "c": 50, "new": 1000}
    assert list(grown(was, now)) == [("b", 100, 111)]


def test_another_build_of_a_version_is_compared_with_the_last_one() -> None:
    saved = {"kernels": {"6.1.0-50": {"a": 1}, "6.18.1-x": {"a": 2}, "6.18.2-x": {"a": 3}}}
    assert before(saved, "6.18.1-x") == {"a": 2}
    assert before(saved, "6.18.44-y") == {"a": 3}
    assert before(saved, "6.1.9") == {"a": 1}
    assert before(saved, "7.3.0") == {}


def test_the_page_has_what_is_saved() -> None:
    saved = read()
    text = (Path(__file__).parents[2] / "docs/trust.md").read_text()
    assert saved["kernels"] and table(saved) in text, f"put this in:\n{table(saved)}"
    assert len(saved["kernels"]) >= 4  # this machine's, and those of `make matrix`
    for counts in saved["kernels"].values():
        assert {f"steer: {name}" for name in registry.names()} <= counts.keys()
