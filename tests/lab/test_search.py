"""The search for a load, on real packets: every trial has its books, and the result is one of them."""

import json

from commands import overspray


def test_a_comparison_at_loads_that_are_searched_for() -> None:
    line = ("ab", "flannel/none", "flannel/rps-vxlan+gro-list", "--rate", "search", "--loss", "0.5")
    done = overspray(*line, "--rounds", "1", "--seconds", "0.02", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["metric"], found["reasons"]) == ("loss_free_pps", [])
    assert found["traffic"]["rate"] == "search"
    [trials] = found["trials"]
    for side in "ab":
        last, row = trials[side][-1], found["variants"][side]
        assert last["rate"] == found["rounds"][0][side] == row["delivered_pps"]
        assert row["loss"] == last["loss"]
        assert all(each["rate"] > 0 and 0 <= each["loss"] <= 1 for each in trials[side])
