"""Which overlay a frame belongs to: VNI and UDP port as they are on the wire, never with bytes swapped."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from ground import planned

from bench.cost import route_of
from bench.frame import build
from bench.lab_plan import Plan
from steering import bpf
from steering.layout import header
from steering.unit import Route, Unit

NETWORKS = [(1, 8472), (4097, 4789), (16777215, 4790)]
"""VNI and port: Flannel's, RFC 7348's, and the largest of all."""

PROOF = header("proof.h").struct("proof").itemsize
"""Bytes of metadata that a test run returns in front of a frame that was taken."""


def frame(vni: int, port: int) -> bytes:
    return build(replace(Plan("flannel"), vni=vni, port=port), 18).data


def route(vni: int, port: int, mac: str = Plan("flannel").containers[0].mac) -> Route:
    return replace(route_of(replace(Plan("flannel"), vni=vni, port=port)), mac=mac)


@pytest.fixture(scope="module")
def unit() -> Iterator[Unit]:
    with Unit(planned("local"), 1) as made:
        made.serve(made.plan, Plan().nic_mac)
        yield made


@pytest.mark.parametrize("ours", NETWORKS)
def test_only_the_attached_one_is_steered(unit: Unit, ours: tuple[int, int]) -> None:
    unit.route([route(*ours)])
    for vni, port in [*NETWORKS, (ours[0], NETWORKS[ours == NETWORKS[0]][1])]:
        before, wire = unit.totals(), frame(vni, port)
        _, data = bpf.test_run(unit.program, wire)
        now = unit.totals() - before
        is_ours = (vni, port) == ours
        assert now.steer["local"] == is_ours
        assert now.steer["pass_unknown"] == (not is_ours)
        assert (data[PROOF:] == wire[50:]) if is_ours else (data == wire)


def test_a_swapped_port_matches_nothing(unit: Unit) -> None:
    """0x2118 is 8472, and 0x1821 is 6177."""
    unit.route([route(1, 6177)])
    before = unit.totals()
    bpf.test_run(unit.program, frame(1, 8472))
    assert (unit.totals() - before).steer["pass_unknown"] == 1


def test_routes_come_and_go(unit: Unit) -> None:
    """A row that is free again serves another; one that stays is served all along."""
    macs = [f"02:00:00:00:02:{at:02x}" for at in range(1, 6)]
    wanted = [route(42, 4789, mac) for mac in macs]
    data = frame(42, 4789)
    for served in (wanted, wanted[1:], wanted[:1], [], wanted[::-1]):
        unit.route(served)
        before = unit.totals()
        for mac in macs:
            bpf.test_run(unit.program, data[:50] + bytes.fromhex(mac.replace(":", "")) + data[56:])
        now = unit.totals() - before
        assert (now.steer["local"], now.steer["pass_unknown"]) == (len(served), 5 - len(served))
