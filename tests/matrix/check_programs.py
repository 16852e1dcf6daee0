"""What is asked of a kernel (guest.py): doctor's answers, every program, every policy's check."""

import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import check_decisions, check_order
from bench.check import examine
from steering import bpf
from steering.compile import Module
from steering.doctor import examine as examined
from steering.host import version_of
from steering.plan import read_plan
from steering.registry import SHELF, names
from steering.spec import Spec
from steering.unit import Unit
from xdp import SOURCES

sys.path.insert(0, str(Path(__file__).parents[1] / "verifier"))
import counts

XDP, TC, FILTER = bpf.PROG_TYPE_XDP, bpf.PROG_TYPE_SCHED_CLS, bpf.PROG_TYPE_SOCKET_FILTER
TRACEPOINT = bpf.PROG_TYPE_RAW_TRACEPOINT
ALONE: dict[str, tuple[dict[str, str | int], dict[str, int]]] = {
    "drop": ({}, {"drop": XDP}),
    "lossy": ({}, {"lose": TC}),
    "observe": ({}, {"settle": TRACEPOINT, "nothing": TRACEPOINT}),
    "order": ({}, {"order": TC}),
    "peer": ({}, {"peer": TC}),
    "sink": ({"SINK_LOG_ENTRIES": 1024}, {"sink": FILTER}),
    "sink_tcp": ({"SINK_LOG_ENTRIES": 1024, "TCP_SINK_FLOWS": 64}, {"sink_tcp": FILTER}),
    "why": ({}, {}),
    "wire": ({"HEADER_BYTES": 92}, {"wire": XDP}),
    "wire_tcp": (
        {"HEADER_BYTES": 116, "INNER_AT": 50, "TCP_AT": 84, "TUNNEL_PORT": 4789},
        {"wire_tcp": XDP, "acks": XDP},
    ),
}
"""Programs that need no other: their defines, and what is loaded as what."""
WITH_STEER = ("steer", "deliver", "reconcile", "tail", "polls", "switches", "back", "cost")
IN_CHECK = "check"
"""Loaded by every policy's check."""


def test_doctor(record_property: Callable[[str, object], None]) -> None:
    probes = examined()
    record_property("doctor", [[each.name, each.ok, each.value] for each in probes])
    assert [each.name for each in probes if each.needed and not each.ok] == []
    found = {each.name: each.ok for each in probes}
    assert found["tcx links"] == (version_of(platform.release()) >= (6, 6)) == bpf.has_tcx()
    assert found["cpumap GRO"] == (version_of(platform.release()) >= (6, 15))


@pytest.mark.parametrize("name", ALONE)
def test_program(name: str) -> None:
    defines, functions = ALONE[name]
    with Module(f"{name}.bpf.c", defines=defines) as module:
        for function, kind in functions.items():
            module.load(function, kind)


def test_programs_beside_the_nic_stage() -> None:
    unit = Unit(read_plan(Spec.parse("safe"), [max(os.sched_getaffinity(0))]), 1, "cost.bpf.c")
    try:
        unit.module.load("cost", XDP)
        unit.module.load("back", TC) if bpf.has_helper(TC, bpf.GET_NETNS_COOKIE) else None
        unit.module.load("deliver", XDP, bpf.ATTACH_XDP_CPUMAP)
    finally:
        unit.close()


def test_no_program_is_forgotten() -> None:
    files = {path.name.removesuffix(".bpf.c") for path in SOURCES.glob("*.bpf.c")}
    assert files == {*ALONE, *WITH_STEER, IN_CHECK}


def test_the_verifiers_work(record_property: Callable[[str, object], None]) -> None:
    found = counts.everything()
    assert all(0 < count < counts.LIMIT for count in found.values())
    record_property("verifier", found)


@pytest.mark.parametrize("name", names())
def test_policy(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # User space is the host's: a few of its decisions will do. The kernel makes all of its own.
    monkeypatch.setattr(check_decisions, "HOSTED_PACKETS", check_decisions.KERNEL_PACKETS)
    monkeypatch.setattr(check_order, "PACKETS", 1000)
    report = examine(SHELF / name, cost=False)
    assert [str(fault) for fault in report.faults] == [] and report.left_out == []
    assert "in the kernel: the same" in report.facts["decisions"]
