"""The NIC stage, frame by frame: what is stripped, and what goes to the stock stack as it came."""

import pytest
from frames import (
    BARE_VNI,
    BOX,
    BOX_MAC,
    HOST_MAC,
    ON6,
    SUMMED,
    TO4,
    VETH_MAC,
    VNI,
    VXLAN43,
    inner_of,
    over,
)
from nic import PASS, REDIRECT, SECRET, WORKERS, Nic
from rows import GOOD4, PASSED, STRIPPED, UDP4
from scapy.packet import Packet

from steering import bpf
from steering.compile import counter_names
from steering.layout import header as header_of

pytestmark = pytest.mark.root

TESTED_ELSEWHERE = {
    "seen",
    "local",
    "remote",
    "pass_ecn",  # test_ecn.py
    "pass_sender",  # test_flows.py
    "refused_slot",  # below
    "refused_room",
    "drop_strip",  # no frame that was parsed is too short for it
}


@pytest.mark.parametrize("frame", [pytest.param(frame, id=what) for what, frame in STRIPPED])
def test_what_is_proven_is_stripped(witness: Nic, frame: Packet) -> None:
    run = witness.run(frame)
    assert (run.verdict, run.counted) == (PASS, {"seen": 1, "local": 1})
    assert run.frame == inner_of(frame)


@pytest.mark.parametrize(
    ("frame", "counter"),
    [
        pytest.param(frame, counter, id=f"{counter}: {what}")
        for counter, rows in PASSED.items()
        for what, frame in rows
    ],
)
def test_what_is_not_proven_passes_untouched(witness: Nic, frame: Packet, counter: str) -> None:
    run = witness.run(frame)
    assert run.counted == {"seen": 1, counter: 1}
    assert (run.verdict, run.frame) == (PASS, bytes(frame))


def test_every_counter_has_its_rows() -> None:
    assert {*counter_names("steer_counter")} == PASSED.keys() | TESTED_ELSEWHERE


@pytest.mark.parametrize(
    ("header", "vni", "mac", "delivery", "verdict"),
    [
        (TO4, VNI, BOX_MAC, "DELIVERY_PEER", PASS),
        (TO4, VNI, VETH_MAC, "DELIVERY_VETH", REDIRECT),
        (ON6 / SUMMED / VXLAN43, BARE_VNI, HOST_MAC, "DELIVERY_INGRESS", PASS),
    ],
)
def test_a_stripped_frame_says_for_whom_it_is(
    witness: Nic, header: Packet, vni: int, mac: str, delivery: str, verdict: int
) -> None:
    route = witness.routes[witness.endpoint(vni, mac)]
    kind = header_of("maps.h").enum("delivery")[delivery]
    for slot, name, wanted in ((0, "local", verdict), (1, "remote", REDIRECT)):
        witness.set_knobs(slot=slot)
        run = witness.run(header / over(BOX, dst=mac) / UDP4)
        assert (run.verdict, run.counted) == (wanted, {"seen": 1, name: 1})
        assert run.frame == bytes(over(BOX, dst=mac) / UDP4)
        assert run.proof is not None
        unit = bpf.map_info(witness.unit.module.fd("cpumap")).id
        wanted_proof = (SECRET, kind, route.port, route.device, route.next, slot, unit)
        assert run.proof.tolist() == wanted_proof


@pytest.mark.parametrize("slot", [WORKERS + 1, 64, 65, 255, 1 << 31, (1 << 32) - 1])
def test_a_slot_that_does_not_exist_is_refused(witness: Nic, slot: int) -> None:
    witness.set_knobs(slot=slot)
    for _, frame in STRIPPED:
        run = witness.run(frame)
        assert (run.verdict, run.counted) == (PASS, {"seen": 1, "refused_slot": 1})
        assert run.frame == bytes(frame)


def test_without_workers_there_is_slot_0_only(witness: Nic) -> None:
    witness.set_workers(0)
    assert witness.slots([GOOD4]) == [0]
    witness.set_knobs(slot=1)
    assert witness.slots([GOOD4]) == ["refused_slot"]


def test_all_64_workers_can_be_used(witness: Nic) -> None:
    witness.set_workers(64)
    for slot in range(65):
        witness.set_knobs(slot=slot)
        assert witness.slots([GOOD4]) == [slot]
