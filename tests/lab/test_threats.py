"""Somebody tries to get in, or to hurt: each attempt, and what becomes of it (docs/security.md)."""

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet
from talk import Raw, Talk, attached, numbered, plan

from bench import lab as labs
from bench.lab_plan import Endpoint, Lab
from steering.datapath import Datapath
from steering.unit import Programs

NAME = "vth"
STRANGER = "198.18.0.77"
pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def programs() -> Iterator[Programs]:
    with Programs() as programs:
        yield programs


@pytest.fixture(scope="module", params=["flannel", "docker"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with labs.held(labs.LabSpec(request.param, NAME, 2)) as made:
        yield made


@pytest.fixture
def datapath(lab: Lab, programs: Programs) -> Iterator[Datapath]:
    with attached(lab, plan("local"), programs) as datapath:
        yield datapath


def inner(end: Endpoint, load: bytes, **macs: str) -> Packet:
    """A datagram for a container."""
    ether = Ether(**{"src": end.peer_mac, "dst": end.mac, **macs})
    return ether / IP(src=end.peer_ip, dst=end.ip) / UDP(sport=7, dport=9) / load


def tunnelled(lab: Lab, inside: Packet, source: str | None = None, vni: int | None = None) -> bytes:
    """It in a tunnel to us."""
    outer = IP(src=source or lab.remote_vtep_ip, dst=lab.vtep_ip)
    tunnel = UDP(sport=49152, dport=lab.port, chksum=0)
    head = VXLAN(flags="Instance", vni=lab.spec.vni if vni is None else vni)
    return bytes(Ether(src=lab.wire_mac, dst=lab.nic_mac) / outer / tunnel / head / inside)


def seen(lab: Lab, frames: list[bytes]) -> list[list[bytes]]:
    """What each container's device sees of these frames on the wire."""
    with (
        Raw(lab.wire_ns, lab.wire) as wire,
        Raw(lab.endpoints[0].netns, lab.endpoints[0].device) as first,
        Raw(lab.endpoints[1].netns, lab.endpoints[1].device) as second,
    ):
        wire.send(frames)
        return [first.received(0.05), second.received(0.01)]


def attempts(lab: Lab) -> dict[str, tuple[bytes, str]]:
    """Each with the counter under which our datapath keeps its hands off it."""
    end = lab.endpoints[0]
    return {
        "foreign VTEP": (tunnelled(lab, inner(end, b"vtep"), source=STRANGER), "pass_tunnel"),
        "wrong VNI": (tunnelled(lab, inner(end, b"vni"), vni=lab.spec.vni + 1), "pass_tunnel"),
        "inner receiver of nobody": (
            tunnelled(lab, inner(end, b"mac", dst="02:00:00:00:66:66")),
            "pass_endpoint",
        ),
        "inner receiver of the bridge": (
            tunnelled(lab, inner(end, b"bridge", dst="02:05:02:00:00:02")),
            "pass_endpoint",
        ),
        "to a VTEP that we are not": (
            tunnelled(lab, inner(end, b"other")).replace(
                bytes([198, 18, 0, 2]), bytes([198, 18, 0, 9])
            ),
            "pass_checksum",
        ),
        "bare, with a container's MAC": (bytes(inner(end, b"bare")), "pass_other"),
    }


def test_nothing_gets_in_that_stock_would_keep_out(lab: Lab, programs: Programs) -> None:
    tried = attempts(lab)
    stock = [seen(lab, [frame]) for frame, _ in tried.values()]
    with attached(lab, plan("local"), programs) as datapath:
        for (name, (frame, counter)), wanted in zip(tried.items(), stock, strict=True):
            before = datapath.totals()
            assert seen(lab, [frame]) == wanted, name
            counted = (datapath.totals() - before).steer
            assert {key: n for key, n in counted.items() if n} == {"seen": 1, counter: 1}, name
    kept_out = {"wrong VNI", "to a VTEP that we are not", "bare, with a container's MAC"}
    for name, wanted in zip(tried, stock, strict=True):
        if name in kept_out:
            assert wanted == [[], []], name


def test_a_forged_sender_does_not_move_a_container(lab: Lab, datapath: Datapath) -> None:
    """Stock bridges learn from it that the container is behind the tunnel now."""
    victim, other = lab.endpoints
    forged = tunnelled(lab, inner(other, b"I am the first", src=victim.mac))
    assert seen(lab, [forged]) == [[], [bytes(inner(other, b"I am the first", src=victim.mac))]]
    assert datapath.totals().steer["local"] == 1
    # By either way the container still gets its own: this one is too odd for the fast path.
    good = inner(victim, b"for the first")
    odd = good.copy()
    odd[IP].flags, odd[IP].chksum = "MF", None
    for packet in (good, odd):
        assert seen(lab, [tunnelled(lab, packet)]) == [[bytes(packet)], []]
    assert datapath.totals().steer["pass_fragment"] == 1


def test_a_tunnel_in_the_tunnel_is_taken_off_once(lab: Lab, datapath: Datapath) -> None:
    one, other = lab.endpoints
    second = tunnelled(lab, inner(other, b"through the back door"))
    inside = (
        Ether(src=one.peer_mac, dst=one.mac)
        / IP(src=one.peer_ip, dst=one.ip)
        / UDP(sport=7, dport=lab.port, chksum=0)
        / second[42:]
    )
    assert seen(lab, [tunnelled(lab, inside)]) == [[bytes(inside)], []]
    counted = datapath.totals().steer
    assert (counted["seen"], counted["local"]) == (1, 1)


def test_a_container_that_sends_a_tunnel_itself(lab: Lab, programs: Programs) -> None:
    """It is not on the NIC: the fast path never sees it. What the host makes of it, stock makes."""
    one, other = lab.endpoints
    good = tunnelled(lab, inner(other, b"from inside"))
    # As it is, and addressed to the bridge, to the other container, and to everybody.
    macs = ["02:05:02:00:00:02", other.mac, "ff:ff:ff:ff:ff:ff"]
    frames = [good, *(bytes.fromhex(mac.replace(":", "")) + good[6:] for mac in macs)]

    def reaches_the_other() -> list[bytes]:
        with Raw(one.netns, one.device) as inside, Raw(other.netns, other.device) as victim:
            inside.send(frames)
            return sorted(victim.received(0.1))

    stock = reaches_the_other()
    with attached(lab, plan("local"), programs) as datapath:
        assert reaches_the_other() == stock
        assert datapath.totals().steer["seen"] == 0


def test_many_flows_do_not_exhaust_it(lab: Lab, datapath: Datapath) -> None:
    """More flows than there are places: all are served, and a flow that was there before too."""
    end, flows = lab.endpoints[0], 5000
    base = bytearray(tunnelled(lab, inner(end, b"many")))
    with Talk(lab) as talk, Raw(lab.wire_ns, lab.wire) as wire:
        assert talk.send(numbered(3)) == numbered(3)
        for port in range(1024, 1024 + flows):
            base[84:86] = struct.pack("!H", port)
            base[90:92] = bytes(2)  # no inner checksum
            wire.send([bytes(base)], pause=0)
        assert talk.send(numbered(3)) == numbered(3)
    counted = datapath.totals()
    assert {key: n for key, n in counted.steer.items() if n} == {
        "seen": flows + 6,
        "local": flows + 6,
    }
    assert counted.peer["segments"] == flows + 6


HOSTILE = """
struct policy_flow { __u32 turn; };
struct policy_core { __u32 unused; };
static ALWAYS_INLINE __u32 policy_slot(const struct packet *packet, const struct knobs *knobs,
    struct policy_flow *flow, struct policy_core *core,
    const struct workers *workers)
{
    return 65 + (flow->turn++ & 0xffff);
}
"""
ABOUT = """
from steering.policy import Order, Policy

POLICY = Policy(
    summary="names workers that there are not",
    order=Order.UNORDERED,
    knobs={},
    good="tests",
    drowns="always",
)
"""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("policies") / "hostile"
    folder.mkdir()
    (folder / "policy.h").write_text(HOSTILE)
    (folder / "policy.py").write_text(ABOUT)
    return folder


def test_a_policy_written_to_hurt_loses_nothing(
    lab: Lab, programs: Programs, hostile: Path
) -> None:
    with attached(lab, plan(f"@{hostile}"), programs) as datapath, Talk(lab) as talk:
        assert talk.send(numbered(50)) == numbered(50)
        counted = datapath.totals().steer
    assert (counted["refused_slot"], counted["local"], counted["remote"]) == (50, 0, 0)
