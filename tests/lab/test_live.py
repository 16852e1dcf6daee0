"""``overspray ab --on DEVICE``: a comparison under traffic that is there, on overlays that the lab made."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from attaching import host_links
from commands import overspray
from ground import NIC_CORE, WORKER_CORE
from pyroute2 import IPRoute

from bench.lab import Lab
from bench.live import Live, Measured, variant_of
from bench.sink import Sink
from bench.traffic import Traffic
from bench.wire import Wire
from steering import netns
from steering.errors import BadInput
from steering.settings import Feature

pytestmark = pytest.mark.needs("cpumap programs", "tc links")

N = 640
IP_BYTES = 20 + 8 + 18
NONE, POLICY = variant_of("none"), variant_of(f"roundrobin:mask={1 << WORKER_CORE:x}")
SHORT = ("--seconds", "0.1", "--rounds", "2")


@contextmanager
def sending(lab: Lab, traffic: Traffic) -> Iterator[tuple[Wire, Sink]]:
    """Traffic that is there, whatever is attached: frames get into a veth only while it has NAPI."""
    with netns.entered(lab.host_ns):
        Feature(lab.plan.nic, "rx-gro").write("on")
    with Sink(lab) as sink, Wire(lab, traffic, NIC_CORE) as wire:
        yield wire, sink


def test_every_packet_of_every_container_is_counted_whoever_delivers(overlay: Lab) -> None:
    before = host_links(overlay)
    with (
        sending(overlay, Traffic(flows=2)) as (wire, sink),
        netns.entered(overlay.host_ns),
        Live(overlay.plan.nic, [NONE, POLICY]) as live,
    ):
        for variant, fast in ((NONE, 0), (POLICY, 1), (NONE, 0)):
            live.put(variant)
            begun = live.moment()
            wire.send_windowed(N, lambda: sink.delivered)
            found = Measured(begun, live.moment())
            assert (found.nic, found.delivered, found.bytes) == (N, N, N * IP_BYTES)
            assert [each.packets for each in found.received.values()] == [N // 2, N // 2]
            assert (found.fast, found.drops) == (fast, {})
        assert host_links(overlay) == before
    assert host_links(overlay) == before


@pytest.mark.long  # what comes within a tenth of a second is up to the machine
def test_rounds_alternate_under_traffic_that_is_there(flannel: Lab) -> None:
    before = host_links(flannel)
    with sending(flannel, Traffic(rate=20_000)) as (wire, _), wire.running(), netns.entered(flannel.host_ns):
        done = overspray("ab", "--on", flannel.plan.nic, str(NONE), str(POLICY), *SHORT, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["on"], found["a"], found["b"]) == (flannel.plan.nic, "none", str(POLICY))
    assert found["verdict"] in ("inconclusive", "invalid")  # two rounds support none
    assert [set(each) for each in found["rounds"]] == [{"a", "b", "offered", "marked"}] * 2
    a, b = (found["variants"][side] for side in "ab")
    assert a["delivered_pps"] > 0 and b["delivered_pps"] > 0
    assert a["fast"] == 0 and b["fast"] > 0
    assert list(b["containers"]) == [flannel.names["c0"]]
    assert "not controlled" in found["load"] and "round 2/2: a " in done.stderr
    assert host_links(flannel) == before


def test_what_came_or_went_makes_a_run_invalid(flannel: Lab) -> None:
    with netns.entered(flannel.host_ns), Live(flannel.plan.nic, [NONE]) as live, IPRoute() as ip:
        assert live.run(NONE, 0.001, 0, 0).invalid == ["no container received anything"]
        ip.link("set", index=flannel.veth_indexes[0], master=0)
        assert "containers came or went meanwhile" in live.run(NONE, 0.001, 0, 0).invalid


def test_what_can_not_be_is_refused(flannel: Lab) -> None:
    with netns.entered(flannel.host_ns):
        with pytest.raises(BadInput, match="no container is behind 'nic0'"):
            Live(flannel.plan.nic, [NONE], vni=7)
        with (
            Live(flannel.plan.nic, [NONE, in_veths := variant_of("local:deliver=veth")]) as live,
            pytest.raises(BadInput, match="choose deliver=peer"),
        ):
            live.put(in_veths)


def test_one_that_is_attached_already_is_said(flannel: Lab) -> None:
    with netns.entered(flannel.host_ns), Live(flannel.plan.nic, [POLICY]) as live:
        live.put(POLICY)
        with pytest.raises(BadInput, match="has an XDP program already"):
            Live(flannel.plan.nic, [NONE])
