"""The lab's cases: what is in them, and that the stock stack carries every packet through each."""

import socket
from pathlib import Path

import pytest
from ground import NIC_CORE
from pyroute2 import IPRoute

from bench import lab as labs
from bench.lab import Lab
from bench.lab_plan import CASES
from bench.seen import passing
from bench.sink import Sink
from bench.traffic import LARGEST, Traffic
from bench.wire import Wire
from steering import netns
from steering.errors import BadInput, OversprayError
from steering.waiting import wait_for

N = 1002


def devices(name: str) -> set[str]:
    with netns.entered(name), IPRoute() as ip:
        return {link.get("ifname") for link in ip.get_links()} - {"lo"}


def test_flannel_has_its_bridge_with_the_nic() -> None:
    with labs.lab("flannel", 2) as lab:
        assert [*lab.names] == ["wire", "host", "c0", "c1"]
        assert devices(lab.host_ns) == {"nic0", "vxlan0", "br0", "veth0", "veth1"}
        assert devices(lab.names["c1"]) == {"eth0"}


def test_docker_has_its_bridge_in_a_namespace_of_its_own() -> None:
    with labs.lab("docker") as lab:
        assert devices(lab.host_ns) == {"nic0"}
        assert devices(lab.names["overlay"]) == {"vxlan0", "br0", "veth0"}


def test_a_container_has_a_queue_for_each_core(overlay: Lab) -> None:
    for each in overlay.plan.containers:
        with netns.entered(overlay.names[each.role]), IPRoute() as ip:
            [link] = [link for link in ip.get_links() if link.get("ifname") == "eth0"]
            assert link.get("num_rx_queues") == overlay.plan.queues


def test_an_overlay_is_silent(overlay: Lab) -> None:
    for name in overlay.names.values():
        with netns.entered(name):
            for hook in Path("/proc/sys/net/bridge").glob("bridge-nf-call-*"):
                assert hook.read_text() == "0\n"
            with IPRoute() as ip:
                for link in ip.get_links():
                    counted = link.get("stats64")
                    assert counted["rx_packets"] == counted["tx_packets"] == 0, link.get("ifname")


@pytest.mark.parametrize("case", CASES)
def test_the_stock_stack_delivers_every_packet_on_the_nics_core(case: str) -> None:
    traffic = Traffic(100, flows=3, run=7)
    with labs.lab(case) as lab, passing(lab) as nic, Sink(lab) as sink, Wire(lab, traffic, NIC_CORE) as wire:
        sink.begin(7)
        wire.send_windowed(N, lambda: sink.delivered)
        assert nic.frames == wire.sent == N
        assert sink.counts() == {"delivered": N, "bytes": 100 * N, "foreign": 0, "unlogged": 0}
        assert sink.by_core() == {NIC_CORE: N}
        assert int(sink.latency().sum()) == N
        order = sink.order()
        assert (order.received, order.duplicates, order.reordered) == (N, 0, 0)


def test_flows_are_spread_over_the_containers(overlay: Lab) -> None:
    """Flow i is for container i modulo their number: each has a sink of its own address, and MAC."""
    traffic = Traffic(flows=5)
    with passing(overlay), Sink(overlay) as sink, Wire(overlay, traffic, NIC_CORE) as wire:
        received = []
        for each in overlay.plan.containers:
            received.append(lambda ns=overlay.names[each.role]: packets(ns, "eth0"))
        wire.send_windowed(1000, lambda: sink.delivered)
        arrivals = sink.arrivals()
        assert [int((arrivals["flow"] == flow).sum()) for flow in range(5)] == [200] * 5
        assert [count() for count in received] == [600, 400]


def packets(name: str, device: str) -> int:
    with netns.entered(name), IPRoute() as ip:
        [link] = [link for link in ip.get_links() if link.get("ifname") == device]
        return int(link.get("stats64")["rx_packets"])


def test_packets_of_another_run_are_foreign(flannel: Lab) -> None:
    with passing(flannel), Sink(flannel) as sink, Wire(flannel, Traffic(run=1), NIC_CORE) as wire:
        sink.begin(2)
        wire.send_windowed(100, lambda: sink.counts()["foreign"])
        assert sink.delivered == 0
        sink.begin(1)
        assert sink.counts()["foreign"] == 0
        wire.send_windowed(100, lambda: sink.delivered)
        assert [int(n) for n in sink.arrivals()["sequence"]] == [*range(100, 200)]


@pytest.mark.parametrize(
    "traffic",
    [
        Traffic(batch=4, rate=400_000),
        Traffic(batch=16, rate=400_000, arrivals="poisson", moderation=50, flows=2, shares="3,1"),
    ],
    ids=["constant", "poisson, moderated, shares"],
)
def test_a_paced_wire_sends_exactly_so_many(flannel: Lab, traffic: Traffic) -> None:
    with passing(flannel), Sink(flannel) as sink, Wire(flannel, traffic, NIC_CORE) as wire:
        wire.send(2001)
        assert wire.sent == 2001
        # A busy core may serve the NIC late, when batches have gone on: what its ring has lost is counted.
        wait_for(lambda: sink.delivered + wire.counts()["drop_ring"] == 2001, "every packet")
        found = sink.order()
        assert (found.reordered, found.duplicates) == (0, 0)
        parts = [int((sink.arrivals()["flow"] == flow).sum()) for flow in range(traffic.flows)]
        assert sum(parts) == found.received == sink.delivered
        if traffic.shares and not wire.counts()["drop_ring"]:
            assert parts == [1501, 500]


@pytest.mark.parametrize(
    ("case", "containers", "told"),
    [
        ("moon", 1, "unknown case 'moon': choose from docker, flannel, linux, native"),
        ("flannel", 0, "0 containers: choose from 1 to 80"),
        ("docker", 81, "81 containers: choose from 1 to 80"),
        ("native", 2, "case 'native' has no containers: leave their number out"),
    ],
)
def test_what_can_not_be_is_refused(case: str, containers: int, told: str) -> None:
    with pytest.raises(BadInput, match=told), labs.lab(case, containers):
        pass


def test_the_largest_frames_arrive_and_beyond_them_the_kernel_says_why_not() -> None:
    plan = labs.planned("flannel", 1, 3400)
    with labs.several([plan]) as made:
        lab = made["flannel"]
        with passing(lab), Sink(lab) as sink, Wire(lab, Traffic(LARGEST - 50), NIC_CORE) as wire:
            wire.send_windowed(130, lambda: sink.delivered)
            assert sink.counts()["bytes"] == 130 * (LARGEST - 50)
    too_large = [labs.planned("flannel", 1, 3500)]
    told = "'nic0': its MTU is too large"
    with labs.several(too_large) as made, pytest.raises(OversprayError, match=told), passing(made["flannel"]):
        pass


def test_vxlan_on_the_wire_has_the_flag_that_says_vni(flannel: Lab) -> None:
    """Captured where the stock stack gets it; RFC 7348: I set, all other bits 0."""
    with netns.entered(flannel.host_ns):
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    with tap, passing(flannel), Sink(flannel) as sink, Wire(flannel, Traffic(), NIC_CORE) as wire:
        tap.bind((flannel.plan.nic, 3))
        wire.send_windowed(16, lambda: sink.delivered)
        tap.settimeout(20)
        for _ in range(16):
            frame = tap.recv(2048)
            assert frame[42:50] == bytes([8, 0, 0, 0, 0, 0, flannel.plan.vni, 0])
