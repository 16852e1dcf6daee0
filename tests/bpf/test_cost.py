"""`overspray cost`: figures that make sense, for every policy on the shelf."""

import json

import pytest

from bench.cli import run
from bench.cost import PARTS, measure
from steering.registry import names
from steering.spec import Spec

pytestmark = pytest.mark.root


def test_parts_of_every_policy() -> None:
    found = measure([Spec.parse(name) for name in names()], rounds=40)
    assert [each.policy for each in found] == names()
    for each in found:
        assert list(each.parts) == list(PARTS)
        assert each.parts["parse"].median > 1
        assert each.parts["hand-over"].median > 1
        whole = sum(part.median for part in each.parts.values())
        assert abs(whole - each.total.median) < 0.5 * each.total.median
    remote = {each.policy: each.remote for each in found}
    assert remote["local"] == 0
    assert remote["pin"] == remote["backlog"] == 1
    # Only two policies read the clock, which is what a decision costs more than anything else.
    share = {each.policy: each.parts["policy"].median for each in found}
    dear = sorted(share, key=share.__getitem__)[-2:]
    assert set(dear) == {"elephant", "flowlet"}


def test_a_frame_survives_the_rounds() -> None:
    """What was stripped is put on again: all packets take the fast path, round after round."""
    [first] = measure([Spec.parse("flowcell:cell=1,local=50")], rounds=6, payload=1400)
    assert 0.4 < first.remote < 0.6


def test_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["cost", "--policy", "local", "--rounds", "6", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["unit"] == "ns/packet"
    assert report["policies"][0]["parts"]["parse"]["median"]
    assert run(["cost", "--policy", "pin", "--rounds", "6"]) == 0
    assert "hand-over" in capsys.readouterr().out


def test_an_unknown_policy(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["cost", "--policy", "fastest"]) == 2
    assert "fastest" in capsys.readouterr().err
