"""``overspray cost``: what it runs, and what it prints; its figures are nobody's to assert."""

import json

import pytest
from commands import overspray

from bench.cost import PARTS, measure, route_of
from bench.frame import build
from bench.lab_plan import Plan
from steering import bpf, cores, plan
from steering.bpf import Kind
from steering.spec import Spec
from steering.unit import Unit


def test_each_program_stops_after_its_part() -> None:
    """All drop: a frame that was not ours would be passed before the later parts."""
    lab = Plan("flannel")
    frame = build(lab, 18).data
    planned = plan.read(Spec.parse("roundrobin"), cores.usable()[0])
    with Unit(planned, 1, more=("cost.bpf.c",)) as unit:
        unit.serve(planned, lab.nic_mac)
        programs = {part: unit.load(f"cost_{part}", Kind.XDP) for part in PARTS}
        verdicts = {part: bpf.test_run(program, frame)[0] for part, program in programs.items()}
        assert verdicts == {
            "nothing": bpf.XDP_DROP,
            "parse": bpf.XDP_DROP,
            "classify": bpf.XDP_PASS,
            "policy": bpf.XDP_PASS,
        }
        unit.route([route_of(lab)])
        for program in programs.values():
            assert bpf.test_run(program, frame) == (bpf.XDP_DROP, frame)
        assert bpf.timed_run(programs["parse"], frame, 100) >= 0


def test_every_part_of_every_policy_is_measured() -> None:
    core, told = cores.usable()[0], []
    plans = [plan.read(Spec.parse(name), core) for name in ("local", "backlog:cell=8")]
    found = measure(plans, core, 2, told.append, runs=1000)
    assert [each.policy for each in found] == ["local", "backlog"]
    assert all([*each.parts] == [*PARTS] for each in found)
    assert told == [0, 1, 2]


@pytest.mark.parametrize(("inner", "outer"), [(6, 4), (4, 6), (6, 6)])
def test_ipv6_takes_all_parts(inner: int, outer: int) -> None:
    """A frame that were not proven would cost nothing behind parsing."""
    lab = Plan("flannel", inner=inner, outer=outer)
    planned = plan.read(Spec.parse("pin"), cores.usable()[0])
    with Unit(planned, 1, more=("cost.bpf.c",)) as unit:
        unit.serve(planned, lab.nic_mac)
        unit.route([route_of(lab)])
        last = unit.load("cost_policy", Kind.XDP)
        assert bpf.test_run(last, build(lab, 18).checked)[0] == bpf.XDP_DROP
    [found] = measure([planned], cores.usable()[0], 1, lambda _: None, runs=100, lab=lab)
    assert [*found.parts] == [*PARTS]


def test_as_a_person_types_it() -> None:
    done = overspray("cost", "local", "--rounds", "1", "--json")
    assert done.returncode == 0, done.stderr
    [row] = json.loads(done.stdout)
    assert (row["policy"], row["ip"], row["outer_ip"]) == ("local", 4, 4)
    assert set(row["parts"]["policy"]) == {"median", "low", "high"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("spread",), "unknown policy 'spread': choose from"),
        (("local", "local"), "a policy is named twice"),
        (("local", "--ip", "5"), "IP version 5: choose 4 or 6"),
        (("--core", "4096"), "core 4096 is not to be used here"),
        (("local", "--observers", "native/none"), "--observers runs a variant: name no policies"),
    ],
)
def test_bad_input(arguments: tuple[str, ...], told: str) -> None:
    done = overspray("cost", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr and done.stderr.count("\n") == 1
