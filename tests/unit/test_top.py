"""What is shown of attached policies, from made-up statuses."""

from typing import Any

import numpy as np
import pytest
from rich.console import Console, Group

from steering.layout import struct_in
from steering.policy import SHELF
from steering.top import between, tables


def status(packets: int, done: int, order: tuple[int, int] = (0, 0), **more: Any) -> dict[str, Any]:
    row = {"core": 1, "slot": 1, "packets": packets, "waiting": 3, "lost": done // 10, "done": done}
    counts = {"bulks": done // 4, "skbs": packets // 2, "segments": packets}
    return {
        "device": "nic0",
        "namespace": "here",
        "policy": "mine",
        "xdp": "native",
        "cores": [{**row, **counts, "numbered": order[0], "reordered": order[1]}],
        "counted": {
            "steer": {"seen": packets},
            "delivered": packets,
            "passed": 0,
            "drops": {"worker": {"drop_queue_full": done // 10}} if done else {},
        },
        "policy_counts": {"cells": {"0": done}},
        **more,
    }


def shown(found: dict[str, Any]) -> str:
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(Group(*tables([found])))
    return console.export_text()


def test_rates_are_what_was_gained_a_second() -> None:
    found = between(status(100, 0), status(300, 80), 2.0)
    assert (found["seen"], found["delivered"]) == (100, 100)
    assert found["drops"] == {"worker": {"drop_queue_full": 4}}
    [core] = found["cores"]
    assert (core["packets"], core["share"], core["waiting"], core["lost"]) == (100, 1, 3, 4)
    assert (core["bulk"], core["merged"]) == (4, 2)
    text = shown(found)
    assert "delivered 100/s" in text and "lost: worker drop_queue_full 4/s" in text
    assert "the policy counts: cells 40/s" in text and "generic" not in text


def test_where_nothing_came_nothing_is_divided_by_it() -> None:
    found = between(status(100, 80), status(100, 80), 1.0)
    [core] = found["cores"]
    assert (core["share"], core["bulk"], core["merged"]) == (0, None, None)
    assert "by generic XDP (slow)" in shown({**found, "xdp": "generic"})


def test_reordered_is_a_share_of_what_was_watched() -> None:
    [core] = between(status(100, 0, (40, 8)), status(300, 0, (240, 9)), 1.0)["cores"]
    assert core["reordered"] == 0.005
    shares = {(300, 8): "0.00%", (240, 9): "0.50%", (40, 8): "-"}
    for now, text in shares.items():
        lines = shown(between(status(100, 0, (40, 8)), status(300, 0, now), 1.0)).splitlines()
        assert (lines[1].split()[-1], lines[2].split()[-1]) == ("reordered", text)


def test_another_policys_counts_are_not_subtracted() -> None:
    now = status(100, 40, policy="other")
    assert between(status(100, 80), now, 1.0)["policy_counts"] == {}


@pytest.mark.parametrize(
    ("name", "counts"), [("safe", ["count_moved"]), ("adaptive", ["count_stalls"]), ("stage", ["count_busy"])]
)
def test_the_shelfs_counters_are_found(name: str, counts: list[str]) -> None:
    shape = struct_in((SHELF / name / "policy.h").read_text(), "policy_core")
    assert [each for each in shape.names or () if each.startswith("count_")] == counts


def test_the_counters_of_a_policy_are_found_in_its_header() -> None:
    text = "struct policy_core {\n__u64 count_cells; /* begun } */ __u32 seen[MAX_WORKERS];\n};"
    shape = struct_in(text, "policy_core")
    assert shape.names == ("count_cells", "seen") and shape["seen"].shape == (64,)
    assert struct_in("struct policy_core { struct { __u32 a; } b; };", "policy_core") == np.dtype([])
    assert struct_in("struct policy_core { whatever it; };", "policy_core") == np.dtype([])
