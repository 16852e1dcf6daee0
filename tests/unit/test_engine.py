"""The packet engine: what comes out, in which order, and what is wrong with a policy or number."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from made_policy import made_policy
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from prototype.engine import Engine, Passage
from prototype.engine_tables import Wanted
from prototype.frames import Frames, generate
from steering.errors import BadInput
from steering.hosted import PolicyFault
from steering.policy import Policy
from steering.registry import find
from steering.spec import Spec

HEADERS = 50  # Ethernet, IPv4, UDP, VXLAN
FRAMES = generate(3000, flows=3)


def through(text: str, workers: int = 3, restored: bool = True, **more: int) -> Passage:
    spec = Spec.parse(text)
    policy = find(spec)
    return through_policy(policy, policy.values(spec.args), workers, restored, **more)


def through_policy(
    policy: Policy, knobs: dict[str, int], workers: int, restored: bool = True, **more: int
) -> Passage:
    with Engine(policy, knobs, workers, **more) as engine:
        engine.fill(Wanted().tables(engine.named(FRAMES)))
        return engine.run(FRAMES, restored)


def test_each_frame_comes_out_without_its_tunnel() -> None:
    passage = through("backlog")
    assert list(passage.delivered) == [frame[HEADERS:] for frame in FRAMES]
    assert passage.damaged == 0
    counters = passage.counters
    assert counters["seen"] == counters["local"] + counters["remote"] == len(FRAMES)
    assert not [name for name in counters if name.startswith(("pass", "drop")) and counters[name]]


def test_what_came_in_is_left_as_it_was() -> None:
    before = FRAMES.data.copy(), FRAMES.rows.copy()
    through("roundrobin")
    assert (FRAMES.data == before[0]).all()
    assert (FRAMES.rows == before[1]).all()


@pytest.mark.parametrize("policy", ["roundrobin", "backlog"])
@pytest.mark.parametrize("workers", [1, 2, 5, 64])
def test_restored_output_is_the_same_with_any_number_of_threads(policy: str, workers: int) -> None:
    passage = through(policy, workers)
    assert passage.out.tolist() == list(range(len(FRAMES)))
    assert sorted(passage.arrived) == list(range(len(FRAMES)))
    assert (passage.delivered.data[: 92 * 20] == through("local").delivered.data[: 92 * 20]).any()


def test_without_restoring_spraying_reorders() -> None:
    passage = through("roundrobin", restored=False)
    assert passage.out.tolist() == passage.arrived.tolist()
    order = passage.order().summary()
    assert order.received == len(FRAMES)
    assert order.lost == order.duplicates == 0
    assert order.reordered > 0


@pytest.mark.parametrize("policy", ["local", "pin", "hash", "safe"])
def test_policies_that_keep_order_keep_it(policy: str) -> None:
    passage = through(policy, restored=False)
    assert passage.order().summary().reordered == 0
    for flow in np.unique(passage.frames.rows["flow"]):
        own = passage.out[passage.frames.rows["flow"][passage.out] == flow]
        assert (np.diff(own) > 0).all()


def test_every_slot_has_what_the_policy_gave_it() -> None:
    assert through("roundrobin", 3).per_slot == [750] * 4
    assert through("pin:worker=2", 3).per_slot == [0, 0, len(FRAMES)]
    assert through("local", 3).per_slot == [len(FRAMES)]


def test_a_full_ring_makes_the_nic_wait_and_loses_nothing() -> None:
    passage = through("pin", 1, room=8)
    assert len(passage.out) == len(FRAMES)
    assert passage.waited > 0


def test_stages_are_timed() -> None:
    passage = through("roundrobin", 3)
    packets = {stage.name: stage.packets for stage in passage.stages}
    assert packets == {
        "steer": 3000,
        "deliver, local": 750,
        "deliver, workers": 2250,
        "restore": 3000,
    }
    assert all(stage.busy > 0 and 0 < stage.share(passage.seconds) < 1 for stage in passage.stages)
    assert passage.held.sum() == len(FRAMES)


def test_flows_are_told_apart_and_damage_is_seen() -> None:
    damaged = [bytearray(frame) for frame in generate(6, flows=2)]
    damaged[0][-1] ^= 1  # payload
    damaged[1][HEADERS + 14 + 10] ^= 1  # checksum of the inner IP header
    damaged[2][HEADERS + 14 + 3] += 1  # an inner length beyond the frame
    policy = find(Spec("local"))
    with Engine(policy, {}, 1) as engine:
        frames = Frames.of(damaged)
        engine.fill(Wanted().tables(engine.named(frames)))
        passage = engine.run(frames)
    assert passage.frames.rows["damaged"].tolist() == [1, 1, 1, 0, 0, 0]
    assert passage.damaged == 3
    assert len(passage.out) == 6
    assert len(set(passage.frames.rows["flow"].tolist())) == 2


def test_no_frames_at_all() -> None:
    with Engine(find(Spec("local")), {}, 2) as engine:
        passage = engine.run(Frames.of([]))
    assert len(passage.out) == 0
    assert passage.counters["seen"] == 0


def test_two_engines_of_one_policy_have_maps_of_their_own() -> None:
    policy = find(Spec("local"))
    with Engine(policy, {}, 1) as filled, Engine(policy, {}, 1) as empty:
        filled.fill(Wanted().tables(filled.named(FRAMES)))
        assert empty.run(FRAMES).counters["pass_other"] == len(FRAMES)
        assert filled.run(FRAMES).counters["local"] == len(FRAMES)
        # Counters are those of one run, not of the engine's life.
        assert filled.run(FRAMES).counters["local"] == len(FRAMES)


@pytest.mark.parametrize("slot", ["workers->count + 1", "64", "0xfffffffd", "0xffffffffu"])
def test_a_slot_that_does_not_exist_is_counted_and_the_frame_left(
    tmp_path: Path, slot: str
) -> None:
    passage = through_policy(made_policy(tmp_path / "mine", f"return {slot};"), {}, 3)
    assert passage.counters["refused_slot"] == len(FRAMES)
    assert len(passage.out) == 0
    assert list(passage.frames) == list(FRAMES)


def test_what_the_contract_forbids_ends_the_run_with_its_line(tmp_path: Path) -> None:
    decision = "return packet->hash / (core->n++ < 100) % (workers->count + 1);"
    policy = made_policy(tmp_path / "mine", decision)
    with pytest.raises(PolicyFault, match=r"policy.h.*6.*division by zero") as error:
        through_policy(policy, {}, 3)
    assert error.value.step == 100


def test_time_is_that_of_the_frames(tmp_path: Path) -> None:
    """flowlet moves after a pause in the capture, however fast it is worked off."""
    rows = generate(40).rows.copy()
    rows["time"][20:] += 10**9
    frames = Frames(rows, generate(40).data)
    policy = find(Spec("flowlet"))
    with Engine(policy, policy.values({}), 2) as engine:
        engine.fill(Wanted().tables(engine.named(frames)))
        fates = engine.run(frames).frames.rows["fate"]
        assert engine.policy_counters().keys() == policy.counters.keys()
    assert len(set(fates[:20].tolist())) == len(set(fates[20:].tolist())) == 1


@pytest.mark.parametrize(("workers", "room"), [(0, 64), (-1, 64), (65, 64), (1000, 64), (2, 7)])
def test_impossible_numbers(workers: int, room: int) -> None:
    with pytest.raises(BadInput, match="out of range"):
        Engine(find(Spec("local")), {}, workers, room)


def test_only_the_tunnels_that_are_wanted() -> None:
    other = generate(5).data.copy().reshape(5, -1)
    other[:, 48] = 7  # last byte of the VNI
    frames = Frames.of([*FRAMES.pick(range(5)), *(bytes(row) for row in other)])
    with Engine(find(Spec("local")), {}, 1) as engine:
        named = engine.named(frames)
        assert Wanted().tables(named).tunnel_texts() == [
            f"vni {vni}, 192.0.2.2 to 192.0.2.1 port 4789" for vni in (42, 7)
        ]
        engine.fill(Wanted(vni=7).tables(named))
        counters = engine.run(frames).counters
        assert (counters["local"], counters["pass_tunnel"]) == (5, 5)
        for wrong in (
            Wanted(vni=8),
            Wanted(local="192.0.2.9"),
            Wanted(remote="2001:db8::1"),
            Wanted(port=1),
            Wanted(mac="02:00:00:00:00:09"),
        ):
            with pytest.raises(BadInput, match="there are VNIs 7, 42"):
                wrong.tables(named)


@pytest.mark.parametrize("wanted", [{"local": "here"}, {"mac": "02:00"}, {"mac": "zz"}])
def test_what_is_no_address(wanted: dict[str, str]) -> None:
    with pytest.raises(BadInput, match="is no"):
        Wanted(**wanted)


def test_frames_without_a_tunnel() -> None:
    plain = Frames.of([Ether() / IP() / UDP() / b"x", b"", b"short"])
    with Engine(find(Spec("local")), {}, 1) as engine:
        named = engine.named(plain)
        with pytest.raises(BadInput, match="no frame is whole VXLAN"):
            Wanted().tables(named)
        assert engine.run(plain).counters["seen"] == 3


@pytest.fixture(autouse=True, scope="module")
def no_state() -> Iterator[None]:
    """Nothing that a test does is kept in the frames that all share."""
    before = FRAMES.data.copy()
    yield
    assert (FRAMES.data == before).all()
