"""What the policies of the shelf decide, each against its definition, in user space."""

import numpy as np
import pytest

from prototype import promise, trace
from prototype.trace import Trace
from prototype.twin import Replay, Twin
from steering import policy
from steering.policy import Order
from steering.spec import Spec


def run(text: str, made: Trace) -> Replay:
    """``NAME[:KNOB=VALUE,…]`` on a trace, the other knobs at their defaults."""
    spec = Spec.parse(text)
    found = policy.find(spec)
    knobs = {key: int(spec.args.get(key, knob.default)) for key, knob in found.knobs.items()}
    return Twin(found).run(made, knobs)


@pytest.mark.parametrize("local", [0, 1])
def test_hash_is_a_share_of_the_hashes_for_each_slot(local: int) -> None:
    made = trace.make("three workers", 5000)
    slots = run(f"hash:local={local}", made).slots
    many = 3 + local
    assert (slots == 1 - local + (made.packets["hash"].astype(np.uint64) * many >> 32)).all()
    assert {*slots.tolist()} == {*range(1 - local, 4)}
    assert not run(f"hash:local={local}", trace.make("no worker", 100)).slots.any()


def test_twochoice_takes_the_less_loaded_of_two_that_differ() -> None:
    """Every other queue is full: as two that differ are drawn, of three workers one is always free."""
    made = trace.make("three workers", 5000)
    made.steps["worker"], made.steps["take"] = 0, 0
    made.steps["others"], made.steps["room"] = 512, 512
    slots = run("twochoice:cell=1,limit=512", made).slots
    assert {*slots[512 * 2 + 2 :].tolist()} == {0}, "all are full by then"
    free = run("twochoice:cell=1,limit=300", made).slots[:300]
    assert {*free.tolist()} == {2, 3}, "of two drawn, one at least is not the first"


def test_twochoice_draws_all_workers_about_as_often() -> None:
    made = trace.make("64 workers", 20_000)
    made.steps["worker"], made.steps["others"], made.steps["take"] = trace.EVERY, 0, 512
    counts = np.bincount(run("twochoice:cell=1", made).slots, minlength=65)
    assert counts[0] == 0 and counts[1:].min() > 200 and counts[1:].max() < 450


def test_twochoice_knows_one_worker() -> None:
    made = trace.make("one worker", 1000)
    made.steps["take"], made.steps["others"] = 512, 0
    assert {*run("twochoice", made).slots.tolist()} == {1}


def _waiting(workers: str, at: int) -> Trace:
    """As many flows as packets; before the first one 7000 came to that worker, and nobody takes anything."""
    made = trace.make(workers, 5000)
    made.packets["hash"] = np.random.default_rng(1).integers(0, 1 << 32, 5000)
    made.steps["worker"], made.steps["others"], made.steps["take"], made.steps["room"] = at, 0, 0, 1 << 16
    made.steps["others"][0] = 7000
    return made


def test_stage_has_a_second_choice_while_the_first_is_busy() -> None:
    made = _waiting("three workers", 0)
    first = run("hash:local=0", made).slots
    slots = run("stage:cell=1,limit=6999", made).slots
    assert (slots == first)[first > 1].all() and {*slots.tolist()} == {2, 3}
    assert 0.4 < np.mean(slots[first == 1] == 2) < 0.6, "any other, whatever the first"
    assert (run("stage:cell=1,limit=16384", made).slots == first).all()


def test_stage_takes_the_second_choice_however_busy_that_is() -> None:
    made = _waiting("three workers", trace.EVERY)
    first, slots = run("hash:local=0", made).slots, run("stage:cell=1", made).slots
    assert (slots != first).all() and {*slots.tolist()} == {1, 2, 3}
    assert {*run("stage", _waiting("one worker", 0)).slots.tolist()} == {1}, "there is no other"


def test_stage_has_the_nics_core_among_its_choices_if_told_so() -> None:
    """That is never busy: it has no queue."""
    made = _waiting("three workers", trace.EVERY)
    first, slots = run("hash:local=1", made).slots, run("stage:cell=1,local=1", made).slots
    assert not slots[first == 0].any() and (slots != first)[first > 0].all()
    for slot in (1, 2, 3):
        assert {*slots[first == slot].tolist()} == {0, 1, 2, 3} - {slot}
    assert not run("stage", trace.make("no worker", 100)).slots.any()


def test_stage_keeps_a_flow_in_order_up_to_what_one_worker_can_take() -> None:
    made = trace.make("three workers", 20_000)
    made.steps["worker"], made.steps["others"], made.steps["take"] = trace.EVERY, 0, 512
    assert [*promise.broken(Order.STRICT, {}, made, run("stage", made))] == []


def _changes(made: Trace, replay: Replay) -> list[int]:
    """The pauses before those packets of each flow that go elsewhere than the one before, ns."""
    pauses = []
    for flow in np.unique(made.packets["hash"]):
        mine = made.packets["hash"] == flow
        moved = np.flatnonzero(np.diff(replay.slots[mine].astype(int)))
        pauses += np.diff(made.packets["now"][mine].astype(np.int64))[moved].tolist()
    return pauses


def test_flowlet_moves_only_after_a_pause_and_then_in_order() -> None:
    made = trace.make("three workers", 20_000)
    made.steps["take"] = np.maximum(made.steps["take"], 4)  # no worker stalls
    replay = run("flowlet:gap=1000", made)
    pauses = _changes(made, replay)
    assert len(pauses) > 20 and min(pauses) > 1_000_000
    assert [*promise.broken(Order.STRICT, {}, made, replay)] == []


def test_flowlet_can_not_know_that_a_worker_stalls() -> None:
    """Why it does not promise more."""
    made = trace.make("two workers", 5000)
    made.steps["take"] = 0
    assert [*promise.broken(Order.STRICT, {}, made, run("flowlet:gap=1", made))]


def _two_flows(count: int, every: int, pause_ns: int) -> Trace:
    """One heavy, and of every so many packets one light, to three workers that have nothing to do."""
    made = trace.make("three workers", count)
    light = np.arange(count) % every == 0
    made.packets["hash"] = np.where(light, 0xC0000001, 0x00000002)  # of four slots the last, and the first
    made.packets["flow"] = made.packets["hash"] & 0xFFF
    made.packets["now"] = 10**9 + np.arange(count) * pause_ns
    made.packets["flags"] = 16
    made.steps["worker"], made.steps["others"], made.steps["take"] = trace.EVERY, 0, 512
    return made


def test_elephant_spreads_the_heavy_one_alone() -> None:
    made = _two_flows(10_000, every=20, pause_ns=10_000)  # in 10 ms 950 and 50 packets
    slots = run("elephant:heavy=100", made).slots
    light = made.packets["hash"] == 0xC0000001
    assert {*slots[light].tolist()} == {3}
    heavy = slots[~light]
    at_home = 128  # by its 100th packet it is heavy; then the second cell is full
    assert not heavy[:at_home].any() and (heavy[at_home:] > 0).all()


def test_elephant_forgets() -> None:
    """What was heavy and pauses, or comes slowly, is light from the next cell on."""
    made = _two_flows(3000, every=10_000, pause_ns=10_000)
    made.packets["now"][1000:] += 60 * 10**9
    made.packets["now"][1000:] += np.arange(2000, dtype=np.uint64) * 1_000_000
    slots = run("elephant:heavy=100", made).slots[1:]
    assert slots[200:999].all() and not slots[1000 + 64 :].any()


def test_elephant_keeps_what_opens_and_ends_a_connection_at_home() -> None:
    made = _two_flows(2000, every=10_000, pause_ns=1000)
    for flag in (1, 2, 4, 16 | 1, 16 | 4):
        made.packets["flags"][1000:] = np.where(np.arange(1000) % 7 == 0, flag, 16)
        slots = run("elephant:heavy=100", made).slots
        control = made.packets["flags"] & trace.CONTROL > 0
        assert control.sum() == 143
        assert not slots[control].any() and slots[300:][~control[300:]].all()


def test_safe_looks_where_flowlet_assumes() -> None:
    """All times 50 times as long: after the pause that both wait for, queues still hold packets
    of the flow."""
    made = trace.make("three workers", 50_000)
    made.packets["now"] = 10**9 + (made.packets["now"] - 10**9) * 50
    knobs = "limit=16"
    assumed, looked = run(f"flowlet:gap=1049,{knobs}", made), run(f"safe:{knobs}", made)
    assert [*promise.broken(Order.STRICT, {}, made, assumed)]
    assert [*promise.broken(Order.STRICT, {}, made, looked)] == []
    assert len(_changes(made, looked)) > 200 and {*looked.slots.tolist()} == {0, 1, 2, 3}


def test_safe_never_moves_what_a_worker_does_not_end() -> None:
    made = trace.make("three workers", 5000)
    made.packets["now"] = 10**9 + np.arange(5000) * 2_000_000
    made.steps["worker"], made.steps["others"], made.steps["take"] = trace.EVERY, 1, 0
    slots = run("safe", made).slots
    for flow in np.unique(made.packets["hash"]):
        own = slots[made.packets["hash"] == flow]
        left_home = np.argmax(own > 0) if own.any() else len(own)
        assert len({*own[left_home:].tolist()}) <= 1


def _paced(count: int, ns: int, workers: str = "two workers") -> Trace:
    """One flow, evenly, to workers that take everything at once."""
    made = trace.make(workers, count)
    made.packets["hash"], made.packets["flow"], made.steps["core"] = 1, 1, 0
    made.packets["now"] = 10**9 + np.arange(count) * ns
    made.steps["worker"], made.steps["others"], made.steps["take"] = trace.EVERY, 0, 512
    return made


def test_adaptive_keeps_a_light_flow_local_and_spreads_a_heavy_one() -> None:
    assert not run("adaptive", _paced(10_000, 1500)).slots.any()
    slots = run("adaptive", _paced(10_000, 500)).slots
    assert not slots[:64].any() and slots[64 * 8 :].all(), "heavy within eight cells"
    made = _paced(10_000, 500)
    made.steps["take"] = 0
    slots = run("adaptive", made).slots
    assert [np.sum(slots == worker) for worker in (1, 2)] == [192, 192], "as much as the limit"
    assert (np.diff(np.flatnonzero(np.diff(slots.astype(int)))) % 64 == 0).all(), "in cells"


def test_adaptive_does_not_waver() -> None:
    """100 µs for a cell: light if it was light, heavy if it was heavy; a pause makes it light."""
    made = _paced(20_000, 1563)
    assert not run("adaptive", made).slots.any()
    made.packets["now"][:10_000] = 10**9 + np.arange(10_000) * 500
    made.packets["now"][10_000:] = made.packets["now"][9_999] + 1 + np.arange(10_000) * 1563
    assert run("adaptive", made).slots[1000:].all()
    made.packets["now"][15_000:] += np.arange(5000, dtype=np.uint64) * 1500  # 200 µs
    assert not run("adaptive", made).slots[16_000:].any()


def test_adaptive_goes_on_with_the_others() -> None:
    made = _paced(20_000, 500, "three workers")
    made.steps["worker"], made.steps["take"] = (
        np.arange(20_000) % 2 + 1,
        512,
    )  # the first one stands from now on
    slots = run("adaptive", made).slots
    assert 0 < np.sum(slots == 1) <= 192 and {*slots[5000:].tolist()} == {2}


def test_adaptive_leaves_a_worker_alone_that_does_not_run() -> None:
    """For 20 times as long as it had stood when that was seen; then it has its share again."""
    made = _paced(60_000, 500, "one worker")
    stalled = slice(10_000, 14_000)  # 2 ms
    made.steps["take"][stalled] = 0
    slots = run("adaptive", made).slots
    assert slots[1000:10_000].all()
    gone = np.flatnonzero(slots[10_000:] == 0)[0] + 10_000
    back = np.flatnonzero(slots[14_000:] == 1)[0] + 14_000
    assert gone < 10_000 + 3 * 64, "the limit keeps it from getting more"
    assert 21_000 - 64 < back - 10_000 < 24_200 and slots[back:].all()


@pytest.mark.parametrize(("when", "slot"), [(232, 0), (233, 1)])
def test_safe_leaves_the_nics_core_when_its_poll_has_ended(when: int, slot: int) -> None:
    """A mark is set at packet 64; the 169th comes a jiffy (1.049 ms) later; with 64 from then on a poll
    has ended that flushed all from before the mark."""
    made = _paced(300, 10_000, "one worker")
    made.steps["take"][:100] = 0
    made.steps["others"][0] = 512  # so both flows begin on the NIC's core
    made.packets["flow"][[10, when]] = made.packets["hash"][[10, when]] = 2
    slots = run("safe", made).slots
    assert slots[10] == 0 and slots[when] == slot
