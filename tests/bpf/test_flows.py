"""The table of flows, and what a policy is told. What stands in it never decides who gets what."""

import random
import struct
import time
from collections.abc import Callable, Iterator

import pytest
from frames import (
    BARE,
    BARE_VNI,
    BOX,
    BOX_MAC,
    DATAGRAM,
    ETHER,
    HOST_MAC,
    IN4,
    IN6,
    ON4,
    OUT4,
    PEER_MAC,
    SEGMENT,
    STRANGER,
    THEIRS,
    TO4,
    TO_BOX4,
    TO_BOX6,
    VETH_MAC,
    VNI,
    VXLAN42,
    VXLAN43,
    over,
)
from nic import Nic
from scapy.layers.inet import TCP, UDP
from scapy.packet import Packet

from steering.layout import header

pytestmark = pytest.mark.root

PLACES = header("maps.h").constants["MAX_FLOWS"]
MACS = {BOX_MAC: VNI, VETH_MAC: VNI, HOST_MAC: BARE_VNI}


TEMPLATES = {
    mac: bytes(
        ON4
        / BARE
        / (VXLAN43 if vni == BARE_VNI else VXLAN42)
        / over(BOX, dst=mac)
        / IN4
        / UDP(chksum=0)
    )
    for mac, vni in MACS.items()
}


def mac_bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


PORTS_AT = 50 + 14 + 20


def flow(port: int, mac: str = BOX_MAC) -> bytes:
    frame = TEMPLATES[mac]
    return frame[:PORTS_AT] + struct.pack("!H", port) + frame[PORTS_AT + 2 :]


@pytest.fixture(autouse=True)
def no_flow_is_known(witness: Nic) -> None:
    witness.forget_flows()


def colliding(nic: Nic, count: int) -> list[int]:
    """Source ports of flows of different hashes that compete for the same two places."""
    found: dict[int, dict[int, int]] = {}
    for port in range(1, PLACES):
        nic.run(flow(port))
        packet, _ = nic.witnessed()
        hashes = found.setdefault((int(packet["hash"]) & PLACES - 1) >> 1, {})
        hashes[int(packet["hash"])] = port
        if len(hashes) == count:
            return list(hashes.values())
    raise AssertionError("the hash spreads too well to be true")


@pytest.mark.parametrize(
    ("outside", "inside"),
    [
        (TO_BOX4, IN4 / DATAGRAM),
        (TO_BOX6, IN6 / DATAGRAM),
        (TO_BOX4, IN6 / SEGMENT),
        (TO_BOX6, IN4 / over(SEGMENT, flags="SEC")),
        (TO_BOX4, IN4 / TCP(flags="FRUN") / bytes(1000)),
    ],
)
def test_what_a_policy_is_told(witness: Nic, outside: Packet, inside: Packet) -> None:
    before = time.monotonic_ns()
    witness.run(outside / inside)
    packet, _ = witness.witnessed()
    assert before < packet["now"] < time.monotonic_ns()
    assert packet["length"] == len(BOX / inside)
    tcp = inside.getlayer(TCP)
    assert packet["protocol"] == (6 if tcp else 17)
    assert packet["tcp_flags"] == (int(tcp.flags) & 0xFF if tcp else 0)
    assert packet["flow"] == packet["hash"] & PLACES - 1
    assert (packet["container"], packet["queue"]) == (0, 0)
    assert (packet["clear"], packet["pressed"]) == (0, 0)  # it has not asked


def test_a_hash_is_of_the_five_tuple_alone(witness: Nic) -> None:
    def hash_of(inside: Packet, outside: Packet = TO_BOX4) -> int:
        witness.run(outside / inside)
        return int(witness.witnessed()[0]["hash"])

    base = hash_of(IN4 / UDP(sport=1, dport=2))
    assert base == hash_of(over(IN4, ttl=9, id=5, tos=8) / UDP(sport=1, dport=2) / b"x")
    assert base == hash_of(IN4 / UDP(sport=1, dport=2), TO_BOX6)
    others = [
        hash_of(IN4 / UDP(sport=2, dport=1)),
        hash_of(IN4 / UDP(sport=1, dport=3)),
        hash_of(IN4 / UDP(sport=2, dport=2)),
        hash_of(IN4 / TCP(sport=1, dport=2)),
        hash_of(over(IN4, src="10.0.0.3") / UDP(sport=1, dport=2)),
        hash_of(over(IN4, dst="10.0.0.3") / UDP(sport=1, dport=2)),
        hash_of(over(IN4, src=IN4.dst, dst=IN4.src) / UDP(sport=1, dport=2)),
        *(hash_of(IN6 / UDP(sport=1, dport=2)) for _ in range(1)),
        *(hash_of(over(IN6, src=f"fd00:{word}::2") / UDP(sport=1, dport=2)) for word in (1, "0:1")),
    ]
    assert len({base, *others}) == len(others) + 1


def test_thousands_of_flows_are_all_served(witness: Nic) -> None:
    for turn in range(3):
        for port in random.Random(turn).sample(range(1, 6001), 6000):
            run = witness.run(flow(port))
            assert run.counted == {"seen": 1, "local": 1}
            assert run.frame == flow(port)[50:]


def test_a_thousand_flows_of_one_client_keep_their_state(witness: Nic) -> None:
    kept = 0
    for _ in range(2):
        for port in range(40000, 41000):
            witness.run(flow(port))
            kept += witness.witnessed()[1] == 2
    # Thrown at random, a tenth of them share two places with two others.
    assert kept > 850


def test_few_flows_all_keep_their_state(witness: Nic) -> None:
    for turn in range(1, 4):
        for port in range(1, 101):
            witness.run(flow(port))
            assert witness.witnessed()[1] == turn


def test_two_flows_of_one_place_both_keep_their_state(witness: Nic) -> None:
    one, other = colliding(witness, 2)
    witness.forget_flows()
    for turn in range(1, 10):
        for port in (one, other):
            witness.run(flow(port))
            assert witness.witnessed()[1] == turn


def test_three_flows_for_two_places_go_where_they_belong(witness: Nic) -> None:
    ports = colliding(witness, 3)
    for _ in range(20):
        for port, mac in zip(ports, MACS, strict=True):
            run = witness.run(flow(port, mac))
            route = witness.routes[witness.endpoint(MACS[mac], mac)]
            assert run.proof is not None
            assert run.proof.tolist()[2:5] == (route.port, route.device, route.next)


def test_one_hash_for_three_containers(witness: Nic) -> None:
    for mac in [*MACS] * 5:
        run = witness.run(flow(1, mac))
        route = witness.routes[witness.endpoint(MACS[mac], mac)]
        assert run.proof is not None and run.proof["device"] == route.device
    assert witness.witnessed()[1] == 15


@pytest.mark.parametrize("mac", MACS)
def test_a_container_that_is_gone_gets_nothing_at_once(witness: Nic, mac: str) -> None:
    routes, end = witness.routes, witness.endpoint(MACS[mac], mac)
    assert witness.slots([flow(1, mac)]) == [0]
    witness.route({other: route for other, route in routes.items() if other != end})
    assert witness.slots([flow(1, mac), flow(2, mac)]) == ["pass_endpoint"] * 2
    others = [flow(1, other) for other in MACS if other != mac]
    assert witness.slots(others) == [0, 0]
    witness.route(routes)
    assert witness.slots([flow(1, mac)]) == [0]


def test_a_tunnel_that_is_gone_is_not_taken_off_at_once(witness: Nic) -> None:
    assert witness.slots([flow(1)]) == [0]
    witness.route(tunnels=[])
    assert witness.slots([flow(1), flow(2)]) == ["pass_tunnel"] * 2


def test_a_container_that_moves_is_followed_at_once(witness: Nic) -> None:
    end = witness.endpoint(VNI, BOX_MAC)
    for device in (7, 70, 700):
        route = witness.routes[end]
        witness.route({end: type(route)("peer", device=device)})
        run = witness.run(flow(1))
        assert run.proof is not None and run.proof["device"] == device


def test_rows_do_not_run_out(witness: Nic) -> None:
    end, route = next(iter(witness.routes.items()))
    for device in range(1, 200):
        witness.route({end: type(route)("peer", device=device)})
    assert witness.slots([flow(1)]) == [0]


@pytest.fixture
def fixed(witness: Nic) -> Iterator[Callable[..., None]]:
    """Fixes the sender of all our frames behind VTEPs; behind any again afterwards."""

    def behind(*vteps: str) -> None:
        witness.fixed = {(PEER_MAC, vtep) for vtep in vteps}
        witness.route()

    yield behind
    behind()


@pytest.mark.parametrize("outside", [TO_BOX4, TO_BOX6])
def test_a_sender_that_is_fixed_behind_a_vtep(
    witness: Nic, fixed: Callable[..., None], outside: Packet
) -> None:
    version = 4 if outside is TO_BOX4 else 6
    frame = bytes(outside / IN4 / DATAGRAM)
    other = bytes(frame).replace(mac_bytes(PEER_MAC), mac_bytes("02:00:00:00:02:07"))
    for vteps, verdict in (
        ((), 0),
        ((THEIRS[version],), 0),
        ((STRANGER[version],), "pass_sender"),
        ((THEIRS[10 - version],), "pass_sender"),
        ((THEIRS[version], STRANGER[version]), "pass_sender"),  # which the kernel heeds is not told
        ((), 0),
    ):
        fixed(*vteps)
        assert witness.slots([frame, frame]) == [verdict] * 2
        if version == 4:  # its outer checksum is none
            assert witness.slots([other]) == [0], "of others nobody says where they are"


def test_a_sender_that_moves_is_followed_at_once(witness: Nic, fixed: Callable[..., None]) -> None:
    for vtep, verdict in ((THEIRS[4], 0), (STRANGER[4], "pass_sender")) * 20:
        fixed(vtep)
        assert witness.slots([flow(1)]) == [verdict]


def test_a_known_flow_from_elsewhere_is_not_known(witness: Nic) -> None:
    good = flow(1)
    vtep = bytes(ETHER / over(OUT4, src=STRANGER[4]) / BARE / VXLAN42 / good[50:])
    vni = bytes(TO4)[:46] + struct.pack("!I", 44 << 8)
    assert witness.slots([good, vtep, good, vni + good[50:], good]) == [
        *(0, "pass_tunnel", 0),
        *("pass_length", 0),
    ]
