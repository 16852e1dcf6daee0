"""Attaching without a kernel: what is said, what may be served, lists of cores, the fork."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace

import pytest

from steering import doctor, gate
from steering.describe import counter_facts, differences, plan_facts, reasons
from steering.doctor import examine
from steering.errors import BadInput, OversprayError
from steering.host import Probe
from steering.layout import header
from steering.overlay import Endpoint, Finding, HeldNamespace, Overlay, Tunnel
from steering.plan import Plan, read_cores, read_plan
from steering.preflight import NEEDED, require_host
from steering.routes import helper_name, tunnel_keys
from steering.spec import Spec
from steering.status_text import counts, overview
from steering.unit import Totals


@pytest.fixture
def ns() -> Iterator[HeldNamespace]:
    held = HeldNamespace("/proc/self/ns/net")
    yield held
    held.close()


def tunnel(ns: HeldNamespace, vni: int, *remotes: str) -> Tunnel:
    return Tunnel(vni, 4789, None, ns, "vxlan0", 5, frozenset(remotes), True, frozenset())


def endpoint(ns: HeldNamespace, vni: int, mac: str) -> Endpoint:
    ips = frozenset({"10.0.0.2"})
    return Endpoint(vni, mac, ns, "veth0", 7, ns, "eth0", 8, 1, ips, port=4789)


@pytest.fixture
def overlay(ns: HeldNamespace) -> Overlay:
    """Two networks with a container each."""
    return Overlay(
        nic="nic0",
        nic_ns=ns,
        nic_ifindex=2,
        nic_mac="02:00:00:00:00:01",
        local_ips=frozenset({"198.18.0.2"}),
        tunnels=frozenset({tunnel(ns, 1, "198.18.0.1"), tunnel(ns, 2)}),
        endpoints=frozenset({endpoint(ns, 1, "02:00:00:00:01:01"), endpoint(ns, 2, "02::2")}),
    )


@pytest.mark.parametrize(
    ("text", "cores"), [("0", [0]), ("0,2-5", [0, 2, 3, 4, 5]), ("3, 1", [3, 1]), ("2-2", [2])]
)
def test_lists_of_cores(text: str, cores: list[int]) -> None:
    assert read_cores(text) == cores


@pytest.mark.parametrize("text", ["", "x", "1,,2", "1-", "-1", "5-2", "1,1", "1-3,2", "0x1"])
def test_no_lists_of_cores(text: str) -> None:
    with pytest.raises(BadInput, match="0,2-5"):
        read_cores(text)


def test_what_attaching_needs_is_what_doctor_looks_at() -> None:
    assert set(NEEDED) <= {probe.name for probe in examine()}


@pytest.mark.parametrize(("lacks", "refused"), [("tcx links", False), ("XDP links", True)])
def test_what_one_delivery_needs_is_no_condition_for_all(
    lacks: str, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which plan wants tcx links is for the datapath to say: tests/lab/test_without_tcx.py."""
    found = [
        Probe(name, name != lacks, "6.1", "links", "boot a newer one") for name in (*NEEDED, lacks)
    ]
    monkeypatch.setattr(doctor, "examine", lambda: found)
    with pytest.raises(OversprayError, match=lacks) if refused else nullcontext():
        require_host()


def test_differences_are_told_a_line_each(ns: HeldNamespace, overlay: Overlay) -> None:
    assert list(differences(overlay, overlay)) == []
    (end,) = (each for each in overlay.endpoints if each.vni == 2)
    less = replace(overlay, endpoints=overlay.endpoints - {end})
    assert list(differences(less, overlay)) == [f"served: 02::2 (10.0.0.2), VNI 2, eth0 in '{ns}'"]
    assert next(differences(overlay, less)).startswith("no more: 02::2")
    more = replace(overlay, tunnels=frozenset({tunnel(ns, 1, "198.18.0.1", "198.18.0.3")}))
    assert list(differences(overlay, more)) == [
        f"no more: tunnel VNI 2, port 4789, vxlan0 in '{ns}': from no other host yet",
        "VNI 1: now also from 198.18.0.3",
    ]


def rules_on(monkeypatch: pytest.MonkeyPatch, *vnis: int) -> None:
    def found(overlay: Overlay, own: frozenset[int] = frozenset()) -> list[Finding]:
        hit = sorted(each.vni for each in overlay.tunnels if each.vni in vnis)
        return [Finding("rule", f"a rule on {vni}") for vni in hit] + [Finding("note", "a capture")]

    monkeypatch.setattr(gate, "bypassed", found)


def test_the_gate_shuts_only_where_a_rule_is(
    overlay: Overlay, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = gate.Gate(bypass=False)
    rules_on(monkeypatch)
    assert one.passed(overlay) == overlay
    assert [str(finding) for finding in one.findings] == ["a capture"]
    rules_on(monkeypatch, 2)
    passed = one.passed(overlay)
    assert {each.vni for each in passed.tunnels} == {1} == {each.vni for each in passed.endpoints}
    assert list(one.shut.values()) == ["a rule on 2"]
    rules_on(monkeypatch)
    assert one.passed(overlay) == overlay
    assert not one.shut


def test_the_gate_stands_open_when_asked(overlay: Overlay, monkeypatch: pytest.MonkeyPatch) -> None:
    rules_on(monkeypatch, 1, 2)
    one = gate.Gate(bypass=True)
    assert one.passed(overlay) == overlay
    assert len(one.findings) == 3


def test_counters_have_names_and_meanings() -> None:
    totals = Totals(lost=3)
    totals.steer.update(seen=10, pass_inner=2, drop_strip=1)
    totals.deliver.update(drop_proof=4)
    facts = counter_facts(totals)
    assert facts["steer"]["seen"] == {"count": 10, "meaning": "frames that arrived on the NIC"}
    assert facts["peer"]["stock"]["count"] == 0
    assert all(each["meaning"] for stage in facts.values() for each in stage.values())
    assert reasons(totals) == {
        "passed": {"pass_inner": 2},
        "dropped": {"drop_strip": 1, "drop_proof": 4, "worker_queue_full": 3},
    }


def core() -> int:
    return min(os.sched_getaffinity(0))


def test_a_plan_is_told_as_one_would_type_it() -> None:
    plan: Plan = read_plan(Spec.parse("flowcell:cell=4"), [core()])
    assert plan_facts(plan)["policy"].startswith("flowcell:cell=4,")
    mine = read_plan(Spec("@" + str(plan.policy.folder.parent / "local")), [core()])
    assert plan_facts(mine)["policy"] == "local"


def test_a_policy_has_defaults_of_its_own_for_knobs_of_the_datapath() -> None:
    def rps_and_nice(text: str) -> tuple[int, int]:
        plan = read_plan(Spec.parse(text), [core()])
        return plan.rps, plan.nice

    assert rps_and_nice("local") == rps_and_nice("pipeline:rps=0") == (0, 0)
    assert rps_and_nice("pipeline") == rps_and_nice("local:rps=1") == (1, 0)
    assert rps_and_nice("stream:rps=1") == (1, 10)


def test_an_edited_policy_is_another_one(tmp_path: "os.PathLike[str]") -> None:
    plan = read_plan(Spec.parse("local"), [core()])
    folder = type(plan.policy.folder)(tmp_path)
    for file in ("policy.h", "policy.py"):
        (folder / file).write_text((plan.policy.folder / file).read_text())
    mine = read_plan(Spec(f"@{folder}"), [core()])
    (folder / "policy.h").write_text((folder / "policy.h").read_text() + "/* edited */\n")
    assert mine.key != read_plan(Spec.parse("local"), [core()]).key
    before = mine.key
    (folder / "policy.h").write_text("/* edited again */\n")
    assert read_plan(Spec(f"@{folder}"), [core()]).key != before


def test_status_in_words() -> None:
    facts = {
        "pid": 12,
        "attached": True,
        "uptime": 3725.5,
        "policy": "local",
        "delivery": "peer",
        "queue": 2048,
        "nice": 0,
        "workers": [{"slot": 1, "core": 3, "sent": 9, "lost": 1, "done": 7, "backlog": 1}],
        "tunnels": [],
        "endpoints": [],
        "bypassed": ["a capture"],
        "not_served": [
            {"mac": "02::2", "ips": [], "vni": 2, "device": "eth0", "namespace": "c", "reason": "x"}
        ],
        "counters": {"steer": {"seen": {"count": 9, "meaning": "frames"}, "local": {"count": 0}}},
    }
    lines = list(overview("'nic0' in a", facts))
    assert lines[0] == "'nic0' in a, process 12: attached for 1 h 2 min"
    assert "  serves   no container yet" in lines
    assert any("no address yet" in line and line.endswith(": x") for line in lines)
    assert list(counts(facts)) == [
        "  worker 1 on core 3: 1 waiting, 9 sent, 1 lost",
        "  steer seen  9  frames",
    ]
    assert list(overview("'nic0' in a", {"pid": 1, "attached": False})) == [
        "'nic0' in a, process 1: being attached or detached"
    ]


def test_helpers_of_two_nics_have_two_names() -> None:
    names = {helper_name(near, nic, 3) for near in (1, 2) for nic in (4, 5)}
    assert len(names) == 4
    assert all(len(name) < 16 for name in names)


FORK = """
import sys, time
from steering.daemon import detached
outcome = detached()
if isinstance(outcome, int):
    sys.exit(outcome)
print("child says", flush=True)
{}
"""


def forked(body: str) -> "subprocess.CompletedProcess[str]":
    """Returns when nobody holds the pipes any more, not when the parent ends."""
    code = FORK.format(body)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20)


def test_the_parent_waits_until_the_child_has_started() -> None:
    done = forked("outcome(); print('unheard'); time.sleep(0.1)")
    assert (done.returncode, done.stdout) == (0, "child says\n")


def test_the_parent_ends_as_the_child_did() -> None:
    assert forked("sys.exit(2)").returncode == 2
    done = forked("import os; os.kill(os.getpid(), 9)")
    assert done.returncode == 1
    assert "ended by SIGKILL" in done.stderr


def test_what_the_tables_do_not_hold_is_left_out(
    overlay: Overlay, ns: HeldNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules_on(monkeypatch)
    one = gate.Gate(bypass=False)
    monkeypatch.setitem(header("maps.h").constants, "MAX_TUNNELS", 3)
    crowd = replace(
        overlay,
        tunnels=frozenset(
            {
                tunnel(ns, 1, "198.18.0.1"),
                tunnel(ns, 2, "198.18.0.1", "198.18.0.3", "fd00::1"),
                tunnel(ns, 3, "198.18.0.1"),
            }
        ),
    )
    passed = one.passed(crowd)
    assert {each.vni for each in passed.tunnels} == {1, 3}
    assert {each.vni for each in passed.endpoints} == {1}
    ((full, why),) = one.left_out.items()
    assert full.vni == 2
    assert why.startswith("no room in the tables for its 2 pairs of VTEPs")
    assert len(tunnel_keys(crowd)) == 4, "as many as were counted"
