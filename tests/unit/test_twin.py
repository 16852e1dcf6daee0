"""Policies in user space: what the twin decides, what is said of one that can't be run, and its traces."""

import ctypes
from collections.abc import Callable
from pathlib import Path

import numpy as np
import owned
import pytest
from owned import BODY_LINE

from prototype import promise, trace, twin
from prototype.problem import Faulty
from prototype.twin import Twin
from steering import code, policy
from steering.errors import OversprayError
from steering.policy import Order, Policy
from steering.spec import Spec

Own = Callable[[str], Policy]


def shelf(name: str) -> Policy:
    return policy.find(Spec.parse(name))


def defaults(of: Policy) -> dict[str, int]:
    return {name: knob.default for name, knob in of.knobs.items()}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Own:
    """A policy of one's own, of which nothing is kept, by the body of its decision."""
    monkeypatch.setattr(code, "FOLDER", tmp_path / "kept")

    def of(body: str) -> Policy:
        return owned.own(tmp_path / "mine", body)

    return of


@pytest.mark.parametrize("name", policy.names())
def test_every_policy_keeps_its_promise_on_every_trace(name: str) -> None:
    """At its defaults, and where all knobs are at an end of their range."""
    found = shelf(name)
    checked = Twin(found, checked=True)
    ends = [
        {key: getattr(knob, end) for key, knob in found.knobs.items()} for end in ("default", "low", "high")
    ]
    for kind in trace.KINDS:
        made = trace.make(kind, 5000)
        for knobs in ends:
            assert [*promise.broken(found.order, knobs, made, checked.run(made, knobs))] == []


def test_a_million_packets() -> None:
    found = shelf("backlog")
    made = trace.make("two workers", 1_000_000)
    replay = Twin(found).run(made, defaults(found))
    assert [*promise.broken(found.order, defaults(found), made, replay)] == []
    assert set(np.unique(replay.slots)) == {0, 1, 2}
    sent = replay.workers["worker"]["sent"][:2]
    assert (sent >= [np.sum(replay.slots == 1), np.sum(replay.slots == 2)]).all()


def test_roundrobin_by_its_definition() -> None:
    found, made = shelf("roundrobin"), trace.make("one flow", 1000)
    slots = Twin(found).run(made, {"local": 1}).slots
    assert (slots == np.arange(1000) % 3).all()


def test_a_local_packet_overtakes_those_that_wait() -> None:
    """The model itself, by hand: a queue, a full queue, a worker that runs, and what is left at the end."""
    made = trace.make("one flow", 6)
    made.steps[:] = 0
    made.steps["room"], made.steps["worker"] = 1, 9
    made.steps["worker"][4], made.steps["take"][4] = 0, 1
    replay = Twin(shelf("roundrobin")).run(made, {"local": 1})
    assert replay.slots.tolist() == [0, 1, 2, 0, 1, 2]
    assert replay.left is not None and replay.left.tolist() == [1, 3, 5, 2, 4, 0]
    workers = replay.workers["worker"]
    assert [workers[name][:2].tolist() for name in ("sent", "lost", "done")] == [[2, 2], [0, 1], [1, 0]]
    [(_, told)] = promise.broken(Order.STRICT, {}, made, replay)
    assert told == "2 packets overtake others of their flow: first packet 3 (slot 0) packet 2 (slot 2)"


def test_a_promise_that_is_not_kept_is_seen() -> None:
    made = trace.make("one flow", 5000)
    spread = Twin(shelf("roundrobin")).run(made, {"local": 1})
    assert "packets overtake others of their flow: first packet " in str(
        [*promise.broken(Order.STRICT, {}, made, spread)]
    )
    assert "cells are shorter than 2 packets: first that of packet 2 (slot 2), of 1" in str(
        [*promise.broken(Order.CELL, {"cell": 2}, made, spread)]
    )
    assert [*promise.broken(Order.UNORDERED, {}, made, spread)] == []
    cells = Twin(shelf("flowcell")).run(made, {"cell": 32, "local": 50})
    assert [*promise.broken(Order.CELL, {"cell": 32}, made, cells)] == []
    assert [*promise.broken(Order.CELL, {"cell": 33}, made, cells)]
    assert [*promise.broken(Order.STRICT, {}, made, cells)]


SAFE = """#include "backlog.h"
struct policy_flow { __u64 mark; __u32 slot; __u32 pad; };
struct policy_core { __u64 count_moves; };

static ALWAYS_INLINE __u32 policy_slot(const struct packet *packet, const struct knobs *knobs,
    struct policy_flow *flow, struct policy_core *core, const struct workers *workers)
{
    const struct worker *worker = &workers->worker[(flow->slot - 1) & (MAX_WORKERS - 1)];

    (void)packet, (void)knobs;
    if (!flow->slot || worker->done EARLY >= flow->mark) {
        flow->slot = least_loaded(workers, 64);
        core->count_moves++;
    }
    worker = &workers->worker[(flow->slot - 1) & (MAX_WORKERS - 1)];
    flow->mark = worker->sent - worker->lost + 1;
    return flow->slot;
}
"""


def test_strict_order_is_told_from_nearly_strict(tmp_path: Path) -> None:
    """Who waits until nothing of the flow is left in the old queue keeps it; who leaves one does not."""
    for early, kept in (("", True), ("+ 1", False)):
        twin = Twin(owned.own(tmp_path / "mine", c=SAFE.replace("EARLY", early)))
        wrong = 0
        for kind in trace.KINDS:
            made = trace.make(kind, 20_000)
            replay = twin.run(made, {"cell": 1})
            wrong += len([*promise.broken(Order.STRICT, {}, made, replay)])
        assert (wrong == 0) == kept
        assert np.frombuffer(replay.cores, "<u8").sum() > 100, "it did move flows"


def test_slots_that_do_not_exist_are_counted(own: Own) -> None:
    made = trace.make("one flow", 100)
    replay = Twin(own("return workers->count + 1;")).run(made, {"cell": 1})
    [(_, told)] = promise.broken(Order.STRICT, {}, made, replay)
    assert told == "100 slots that do not exist: first 3 for packet 0, of 0 to 2"


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("return packet->hash / knobs->cell;", "division by zero"),
        ("return packet->hash % knobs->cell;", "division by zero"),
        ("return 1u << (knobs->cell + 32);", "shift by more bits than there are"),
        ("return core->table[packet->hash];", "index out of bounds"),
    ],
)
def test_what_differs_in_user_space_is_found_with_its_line(own: Own, body: str, what: str) -> None:
    mine = own(body)
    with pytest.raises(Faulty) as caught:
        Twin(mine, checked=True).run(trace.make("one flow", 10), {"cell": 0})
    assert str(caught.value).startswith(
        f"{mine.header}:{BODY_LINE}: {what}: packet 0 of trace 'one flow' with"
    )


def test_what_would_end_the_process_ends_the_run(own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    made = trace.make("one flow", 10)
    with pytest.raises(Faulty, match="ended by SIGFPE: packet 0 "):
        Twin(own("return packet->hash / knobs->cell;")).run(made, {"cell": 0})
    monkeypatch.setattr(twin, "_LONGEST_S", 1)
    with pytest.raises(Faulty, match="a loop without an end"):
        Twin(own("while (READ_SHARED(workers->count))\n\t\t;\n\treturn 0;")).run(made, {"cell": 0})


def test_all_that_the_compiler_says(own: Own) -> None:
    mine = own("int unused;\n\treturn nowhere;")
    with pytest.raises(Faulty) as caught:
        Twin(mine)
    assert {problem.line for problem in caught.value.problems} >= {BODY_LINE, BODY_LINE + 1}
    assert all(problem.file == mine.header for problem in caught.value.problems)


def test_what_was_compiled_is_kept_by_its_content(own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    made = trace.make("one flow", 10)
    for slot in (1, 2):
        assert set(Twin(own(f"return {slot};")).run(made, {"cell": 1}).slots) == {slot}
    monkeypatch.setattr(twin, "_compile", lambda *_: pytest.fail("compiled again"))
    assert set(Twin(own("return 1;")).run(made, {"cell": 1}).slots) == {1}


def test_where_nothing_can_be_kept_it_works_too(own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code, "FOLDER", Path("/proc/nowhere"))
    assert set(Twin(own("return 2;")).run(trace.make("one flow", 10), {"cell": 1}).slots) == {2}


def test_without_a_compiler_it_says_what_to_type(own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(
        OversprayError, match=r"no C compiler \(cc\) here: type 'apt-get install gcc libc6-dev'"
    ):
        Twin(own("return 0;"))


def test_the_decision_is_a_plain_c_function() -> None:
    found = shelf("pin")
    made, workers = trace.make("one flow", 1), twin.idle_workers(4)
    knobs, state = twin.packed({"worker": 3}), ctypes.create_string_buffer(64)
    places = (made.packets.ctypes.data, knobs.ctypes.data, ctypes.addressof(state), ctypes.addressof(state))
    assert Twin(found).slot(*places, workers.ctypes.data) == 3


@pytest.mark.parametrize("kind", trace.KINDS)
def test_a_trace_is_what_its_seed_makes(kind: str) -> None:
    one, same, other = trace.make(kind, 2000), trace.make(kind, 2000), trace.make(kind, 2000, seed=2)
    assert (one.packets == same.packets).all() and (one.steps == same.steps).all()
    assert not (one.packets == other.packets).all()
    assert (np.diff(one.packets["now"].astype(np.int64)) >= 0).all()
    assert one.packets["flow"].max() < trace.FLOWS and one.steps["core"].max() < trace.CORES
    assert len(one.first(7)) == 7 and not one.untimed().packets["now"].any()


def test_backlogs_rise_and_fall() -> None:
    """What traces are for: queues that are empty, and queues that lose packets, in one trace."""
    made = trace.make("one worker", 20_000)
    backlogs = []
    for count in range(0, 20_000, 500):
        worker = Twin(shelf("pin")).run(made.first(count), {"worker": 1}).workers["worker"][0]
        backlogs.append(int(worker["sent"] - worker["lost"] - worker["done"]))
    assert min(backlogs[1:]) < 16 and max(backlogs) > 400
    assert worker["lost"] > 0
