"""What a comparison on a live overlay says, from made-up samples."""

from dataclasses import replace

import pytest

from bench.live import LiveSample
from bench.live_report import lines, report
from bench.received import Received

A = LiveSample(
    variant="none",
    round=0,
    seconds=0.5,
    offered=600_000,
    delivered=500_000,
    bytes=50_000_000,
    rate=1e6,
    offered_rate=1.2e6,
    drops={},
    order={},
    latency={},
    cores={"0": {"softirq": 0.5, "other": 0.5}, "1": {"idle": 1.0}},
    per_packet={"polls": 3.0},
    wire_share=0.0,
    limited=False,
    settings={"eth1 rx-gro": "on", "eth1 tx-tcp-segmentation": "on"},
    containers={"web": 1e6, "idle": 0.0},
)
B = replace(
    A,
    variant="backlog",
    rate=2e6,
    drops={"worker": {"drop_queue_full": 5}},
    settings={"eth1 rx-gro": "on", "eth1 tx-tcp-segmentation": "off"},
    containers={"web": 2e6, "idle": 0.0},
    fast=1.0,
)
ROUNDS = 7


def test_the_report_has_what_programs_read_and_nothing_that_nobody_knows() -> None:
    found = report([A] * ROUNDS, [B] * ROUNDS, "eth1")
    assert (found["on"], found["a"], found["b"], found["metric"]) == (
        "eth1",
        "none",
        "backlog",
        "delivered_pps",
    )
    assert [*found["ratio"].values()] == pytest.approx([2, 2, 2])
    assert (found["verdict"], found["reasons"], found["warnings"]) == ("better", [], [])
    assert found["rounds"][0] == {"a": 1e6, "b": 2e6, "offered": {"a": 1.2e6, "b": 1.2e6}, "marked": []}
    assert found["unequal"] == {"eth1 tx-tcp-segmentation": ["on", "off"]}
    row = found["variants"]["b"]
    assert (row["fast"], row["containers"]) == (1.0, {"web": 2e6, "idle": 0.0})
    assert row["drops"] == {"worker": {"drop_queue_full": 5 * ROUNDS}}
    assert not {"loss", "order", "latency_ns", "wire_share", "wire_limited"} & set(row)


def test_a_load_that_differs_within_a_round_is_marked() -> None:
    """By more than a tenth of the round's median, on whichever side."""
    others = [replace(B, offered_rate=1.4e6), replace(B, offered_rate=1.5e6), *[B] * 5]
    found = report([A] * ROUNDS, others, "eth1")
    assert [each["marked"] for each in found["rounds"]] == [[], ["a", "b"], *[[]] * 5]
    assert found["verdict"] == "better"
    [warning] = found["warnings"]
    assert warning.startswith("in round 2 the NIC's load was more than 10% off the round's median")


def test_a_person_is_told_of_the_load_and_of_each_container() -> None:
    text = lines(report([A] * ROUNDS, [B] * ROUNDS, "eth1"))
    assert text[0] == "backlog is 2.00 [2.00, 2.00] times none: better, 7 rounds"
    assert "b lost: worker drop_queue_full 35" in text
    assert "a by container, Mpps: web 1.000" in text
    assert text[-1] == "on eth1: the load is the traffic's own, and not controlled"
    shown = {line[:26].strip(): line[26:].split() for line in text if line}
    assert shown["by the fast path"] == ["0.0%", "100.0%"]
    assert shown["IP, Gbit/s"] == ["0.800", "1.600"]
    assert not any(word in line for line in text for word in ("latency", "reordered", "wire's share"))


def test_an_invalid_run_makes_it_invalid() -> None:
    gone = replace(B, invalid=["containers came or went meanwhile"])
    found = report([A] * ROUNDS, [*[B] * 6, gone], "eth1")
    assert (found["verdict"], found["reasons"]) == ("invalid", ["containers came or went meanwhile"])


def test_a_device_that_is_gone_takes_nothing_away() -> None:
    assert Received(7, 70).since(Received(3, 20)) == Received(4, 50)
    assert Received(7, 70).since(Received(9, 90)) == Received(0, 0)
