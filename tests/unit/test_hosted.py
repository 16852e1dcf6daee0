"""A policy in user space: compiled once, called packet by packet, over traces, and from numba."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numba import njit

from steering import trace
from steering.compile import CompileError
from steering.hosted import FAULT, STEP, Hosted, PolicyFault, idle_workers
from steering.layout import header
from steering.policy import Knob, Need, Order, Policy
from steering.registry import find, names
from steering.spec import Spec

C = """struct policy_flow { __u32 n; STATE };
struct policy_core { __u32 n; };
static ALWAYS_INLINE __u32 policy_slot(const struct packet *packet, const struct knobs *knobs,
\t\tstruct policy_flow *flow, struct policy_core *core, const struct workers *workers)
{
\tDECISION
}
"""


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "overspray" / "policies"


def made(folder: Path, decision: str, state: str = "") -> Policy:
    folder.mkdir(exist_ok=True)
    (folder / "policy.h").write_text(C.replace("DECISION", decision).replace("STATE", state))
    (folder / "policy.py").write_text("POLICY = Policy(\n    knobs={}\n)\n")
    knobs = {"cell": Knob(4, 1, 9, "packets", "length"), "other": Knob(7, 0, 9, "slot", "which")}
    return Policy("s", Order.CELL, knobs, "g", "d", name="mine", folder=folder)


def shelf(name: str) -> Hosted:
    return Hosted(find(Spec.parse(name)))


def packets(flows: list[int]) -> np.ndarray:
    steps = np.zeros(len(flows), STEP)
    steps["packet"]["flow"] = flows
    return steps


@pytest.mark.parametrize(
    ("policy", "knobs", "slots"),
    [
        ("local", {}, [0] * 5),
        ("pin", {"worker": 2}, [2] * 5),
        ("roundrobin", {}, [0, 1, 2, 3, 0]),
        ("flowcell", {"cell": 2, "local": 0}, [1, 1, 2, 2, 3]),
        ("backlog", {}, [1] * 5),
    ],
)
def test_decisions_of_the_shelf(policy: str, knobs: dict[str, int], slots: list[int]) -> None:
    assert shelf(policy).run(packets([0] * 5), knobs, idle_workers(3)).tolist() == slots


def test_backlogs_are_injected() -> None:
    steps = packets([0] * 4)
    steps["worker"], steps["sent"] = [0, 1, 0, 0], [9, 5, 9, 9]
    steps["done"], steps["lost"] = [0, 0, 8, 8], [0, 0, 0, 1]
    # Waiting after each step: (9, 0), (9, 5), (1, 5), (0, 5), of two workers.
    slots = shelf("backlog").run(steps, {"cell": 1, "limit": 6}, idle_workers(2))
    assert slots.tolist() == [2, 2, 1, 1]
    full = shelf("backlog").run(steps, {"cell": 1, "limit": 5}, idle_workers(2))
    assert full.tolist() == [2, 0, 1, 1]


def test_state_is_a_flows_own_and_the_callers_to_keep() -> None:
    hosted = shelf("roundrobin")
    flows, core = hosted.flow_states(), hosted.core_state()
    steps = packets([1, 1, 4095, 1])
    assert hosted.run(steps, {}, idle_workers(3), flows, core).tolist() == [0, 1, 0, 2]
    assert hosted.run(steps, {}, idle_workers(3), flows, core).tolist() == [3, 0, 1, 1]
    assert hosted.run(steps, {}, idle_workers(3)).tolist() == [0, 1, 0, 2]
    assert flows.shape == (4096, header("policy.h").constants["FLOW_STATE_BYTES"])


def test_one_packet_at_a_time() -> None:
    hosted = shelf("flowcell")
    flow, core = hosted.flow_states()[0], hosted.core_state()
    packet = np.zeros((), STEP["packet"])
    knobs = {"cell": 2, "local": 0}
    slots = [hosted.slot(packet, knobs, flow, core, idle_workers(2)) for _ in range(5)]
    assert slots == [1, 1, 2, 2, 1]


def test_every_fact_arrives(tmp_path: Path) -> None:
    names = STEP["packet"].names
    steps = packets([0])
    for number, name in enumerate(names):
        steps["packet"][name] = number % 3 + 1
    facts = " + ".join(f"((__u32)packet->{name} << {2 * n})" for n, name in enumerate(names))
    hosted = Hosted(made(tmp_path / "mine", f"return {facts} + (knobs->cell << 28);"))
    expected = sum((n % 3 + 1) << 2 * n for n in range(len(names))) + (3 << 28)
    assert hosted.run(steps, {"cell": 3}, idle_workers(1)).tolist() == [expected]


@njit
def _slots(decide, packets, knobs, flow, core, workers):  # type: ignore[no-untyped-def]
    found = np.zeros(packets, np.uint32)
    for i in range(packets):
        found[i] = decide(knobs[0], knobs[1], flow, core, workers)
    return found


def test_numba_calls_it() -> None:
    for name, expected in (("roundrobin", [0, 1, 2, 0]), ("pin", [1, 1, 1, 1])):
        hosted = shelf(name)
        packet, knobs = np.zeros(1, STEP["packet"]), hosted.knobs({})
        flow, core, workers = hosted.flow_states(), hosted.core_state(), idle_workers(2)
        addresses = [each.ctypes.data for each in (flow, core, workers)]
        found = _slots(hosted.decide, 4, (packet.ctypes.data, knobs.ctypes.data), *addresses)
        assert found.tolist() == expected
    # Another policy is another address, not another compilation.
    assert len(_slots.signatures) == 1


def test_the_cache_is_used_until_the_text_changes(tmp_path: Path, cache: Path) -> None:
    first = Hosted(made(tmp_path / "mine", "return 1;"))
    [built] = cache.glob("*.so")
    before = built.stat().st_mtime_ns
    assert Hosted(first.policy).run(packets([0]), {}, idle_workers(1)).tolist() == [1]
    assert [each.stat().st_mtime_ns for each in cache.glob("*")] == [before]
    second = Hosted(made(tmp_path / "mine", "return 2;"))
    assert second.run(packets([0]), {}, idle_workers(2)).tolist() == [2]
    knobs = {"cell": second.policy.knobs["cell"]}
    Hosted(replace(second.policy, knobs=knobs))
    assert len(list(cache.glob("*.so"))) == 3


def test_what_another_header_says_counts(tmp_path: Path) -> None:
    (tmp_path / "shared.h").write_text("#define ANSWER 1\n")
    policy = made(tmp_path / "mine", '\n#include "../shared.h"\n\treturn ANSWER;')
    assert Hosted(policy).run(packets([0]), {}, idle_workers(2)).tolist() == [1]
    (tmp_path / "shared.h").write_text("#define ANSWER 2\n")
    assert Hosted(policy).run(packets([0]), {}, idle_workers(2)).tolist() == [2]


def test_all_errors_at_once(tmp_path: Path) -> None:
    policy = made(tmp_path / "mine", "__u32 a = nonsense;\n\treturn rubbish + a;")
    with pytest.raises(CompileError) as caught:
        Hosted(policy)
    places = [(each.file, each.line) for each in caught.value.found]
    assert places == [(str(policy.header), 6), (str(policy.header), 7)]
    assert "\n" not in str(caught.value) and f"{policy.header}:6: 'nonsense'" in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "line", "told"),
    [
        ("policy_slot", "policy_slut", 1, r"policy_slot\(…\), the decision is missing"),
        ("struct policy_core {", "struct core {", 1, "policy_core"),
        ("DECISION", "return bpf_ktime_get_ns();", 6, "bpf_ktime_get_ns"),
        ("DECISION", '\n#include "nowhere.h"\n', 7, "nowhere.h: No such file"),
        ("STATE", "__u32 more[16];", 1, "struct policy_flow is too large"),
    ],
)
def test_what_is_missing(tmp_path: Path, old: str, new: str, line: int, told: str) -> None:
    policy = made(tmp_path / "mine", "return 0;")
    text = C.replace(old, new).replace("DECISION", "return 0;").replace("STATE", "")
    policy.header.write_text(text)
    with pytest.raises(CompileError, match=told) as caught:
        Hosted(policy)
    assert line in [each.line for each in caught.value.found]


@pytest.mark.parametrize(
    ("decision", "told"),
    [
        ("return packet->hash / packet->queue;", "division by zero"),
        ("return packet->hash % packet->queue;", "division by zero"),
        ("return 1u << (packet->queue + 32);", "shift by as many bits"),
        ("return workers->worker[packet->queue + 64].sent;", "index out of bounds"),
    ],
)
def test_what_the_contract_forbids_is_told_and_survived(
    tmp_path: Path, decision: str, told: str
) -> None:
    hosted = Hosted(made(tmp_path / "mine", f"if (flow->n++ < 2) return 0;\n\t{decision}"))
    with pytest.raises(PolicyFault) as caught:
        hosted.run(packets([0] * 4), {}, idle_workers(1))
    assert caught.value.step == 2
    assert (caught.value.fault.file, caught.value.fault.line) == (str(hosted.policy.header), 7)
    assert told in str(caught.value)
    # The next one is not blamed for it.
    assert hosted.run(packets([0]), {}, idle_workers(1)).tolist() == [0]


def test_a_slot_of_that_number_is_no_fault(tmp_path: Path) -> None:
    hosted = Hosted(made(tmp_path / "mine", f"return {FAULT}u;"))
    assert hosted.run(packets([0] * 2), {}, idle_workers(1)).tolist() == [FAULT] * 2


def test_queues_deliver_first_in_first_out() -> None:
    hosted = shelf("roundrobin")  # slots 0, 1, 0, 1 …
    drains = np.zeros((6, 2), np.uint16)
    drains[4] = 9, 0  # both of slot 0 come out
    drains[5] = 0, 1
    queued = hosted.run_queues(packets([0] * 6), drains, {}, 1)
    assert queued.slots.tolist() == [0, 1, 0, 1, 0, 1]
    # At the end the workers' queues empty first.
    assert queued.place.tolist() == [1, 3, 2, 4, 6, 5]


def test_a_full_queue_loses_and_the_backlog_says_so() -> None:
    never = np.zeros((4, 2), np.uint16)
    queued = shelf("pin").run_queues(packets([0] * 4), never, {}, 1, room=2)
    assert queued.place.tolist() == [1, 2, 0, 0]
    # Of 20 that wait, 8 are taken out though not through: 12 are at the limit.
    never = np.zeros((24, 2), np.uint16)
    limited = shelf("backlog").run_queues(packets([0] * 24), never, {"cell": 1, "limit": 12}, 1)
    assert limited.slots.tolist() == [1] * 20 + [0] * 4


def test_clear_is_the_truth() -> None:
    steps = packets([5] * 4)
    steps["packet"]["clear"], steps["packet"]["pressed"] = [1, 1, 1, 0], [8, 0, 0, 0]
    drains = np.zeros((4, 2), np.uint16)
    drains[2] = 0, 1  # one of two comes out: not clear
    # `safe` goes back to slot 0 as soon as it is clear: not before both are out.
    assert shelf("safe").run_queues(steps, drains, {}, 1).slots.tolist() == [1] * 4
    drains[2] = 0, 2
    assert shelf("safe").run_queues(steps, drains, {}, 1).slots.tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize("mix", list(trace.Mix))
def test_traces_follow_from_their_seed(mix: trace.Mix) -> None:
    steps = trace.trace(mix, 3000, 3, seed=1)
    assert (trace.trace(mix, 3000, 3, seed=1) == steps).all()
    assert (trace.trace(mix, 3000, 3, seed=2)["packet"] != steps["packet"]).any()
    packet = steps["packet"]
    assert (np.diff(packet["now"].astype(np.int64)) >= 0).all()
    assert len(np.unique(packet["hash"])) >= 10
    assert set(np.unique(steps["worker"])) == {0, 1, 2}
    for worker in range(3):
        own = steps[steps["worker"] == worker]
        for counter in ("sent", "lost", "done", "started", "finished", "yielded", "batches"):
            assert (np.diff(own[counter].astype(np.int64)) >= 0).all(), counter
        assert (own["finished"] <= own["started"]).all() and (own["started"] <= own["done"]).all()


def test_what_is_not_needed_is_not_told() -> None:
    steps = trace.trace(trace.Mix.ADVERSARIAL, 500, 2, seed=1)
    nothing, everything = trace.known(steps, frozenset()), trace.known(steps, trace.ALL_NEEDS)
    assert (everything == steps).all()
    for name in ("now", "clear", "pressed"):
        assert steps["packet"][name].any() and not nothing["packet"][name].any()
    for name in ("started", "finished", "yielded"):
        assert steps[name].any() and not nothing[name].any()
    assert trace.known(steps, frozenset({Need.TIME}))["packet"]["now"].any()


@pytest.mark.parametrize("name", names())
def test_the_shelf_compiles_without_a_warning(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steering.hosted._FLAGS", (*_flags(), "-Wall", "-Wextra", "-Werror"))
    shelf(name)


def _flags() -> tuple[str, ...]:
    from steering import hosted

    return hosted._FLAGS
