"""``overspray attach`` on several overlays behind one NIC, and on several NICs of one network namespace."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytest
from attaching import attached, host_links, macs
from commands import overspray
from ground import NIC_CORE, WORKER_CORE
from pyroute2 import IPRoute

from bench import lab as labs
from bench import lab_build
from bench.lab import Lab
from bench.lab_plan import Plan
from bench.sink import Sink
from bench.traffic import Traffic
from bench.wire import Wire
from steering import bpf, netns
from steering.bpf import Kind, Link, Program, returning

N = 640
SECOND = Plan("docker", 2, vni=43, tunnel="vxlan1", tunnel_mac="02:00:00:00:03:02", bridge="br1")
"""Its containers have the same addresses as the first one's: the VNI tells them apart."""


@dataclass(frozen=True)
class OtherNic(Plan):
    """An overlay behind a NIC and a wire of its own, in another network."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "wire_ip", "198.19.0.1")
        object.__setattr__(self, "nic_ip", "198.19.0.2")


@contextmanager
def beside(first: Lab, plan: Plan, *there: str) -> Iterator[Lab]:
    """Another overlay in a lab's host, until the block ends; ``there``: what it shares with the lab."""
    shared = {role: first.names[role] for role in there}
    stem = f"os-test{os.getpid()}-{plan.vni}"
    names = {role: f"{stem}-{role}" for role in plan.roles} | shared
    try:
        lab_build.build(plan, names, there)
        overlay = names[plan.overlay_role]
        veths = tuple(lab_build.index(overlay, each.veth) for each in plan.containers)
        ends = lab_build.index(names["wire"], plan.wire), lab_build.index(names["host"], plan.nic)
        yield Lab(plan, names, *ends, veths)
    finally:
        for name in set(names.values()) - set(shared.values()):
            netns.remove(name)


def sent(wire: Wire, sink: Sink) -> list[int]:
    """Send N; what came to each container since the sink was made, whose flow is its own."""
    before = sink.delivered
    wire.send_windowed(N, lambda: sink.delivered)
    assert sink.delivered == before + N
    return [int(count) for count in np.bincount(sink.arrivals()["flow"])]


def look_again(lab: Lab) -> None:
    """Something that it hears of, and that changes nothing: rules tell nobody when they come."""
    with netns.entered(lab.names[lab.plan.overlay_role]), IPRoute() as ip:
        tunnel = netns.index(lab.plan.tunnel)
        for verb in ("add", "del"):
            ip.fdb(verb, ifindex=tunnel, lladdr="02:00:00:00:09:09", dst=lab.plan.wire_ip)


def hops(lab: Lab) -> set[str]:
    return {name for name in host_links(lab) if name.startswith("os-hop")}


def test_two_overlays_behind_one_nic_are_both_served(overlay: Lab) -> None:
    """The first in the NIC's namespace, or in one of its own; the second in another one of its own."""
    before = host_links(overlay)
    with beside(overlay, SECOND, "wire", "host") as second, attached(overlay) as running:
        for lab in (overlay, second):
            running.await_serving(*macs(lab), vni=lab.plan.vni)
        assert len(hops(overlay)) == (2 if overlay.case == "docker" else 1)
        for lab in (overlay, second):
            with Sink(lab) as sink, Wire(lab, Traffic(flows=2), NIC_CORE) as wire:
                assert sent(wire, sink) == [N // 2, N // 2]
                assert sink.by_core() == {NIC_CORE: N // 2, WORKER_CORE: N // 2}
        counted = running.counted()
        assert (counted["delivered"], counted["passed"], counted["drops"]) == (2 * N, 0, {})
        assert counted["done"] == {str(WORKER_CORE): N}
        assert host_links(overlay) == before


def test_one_vni_is_served_alone_where_that_is_asked_for(flannel: Lab) -> None:
    with beside(flannel, SECOND, "wire", "host") as second, attached(flannel, "--vni", "43") as running:
        running.await_serving(*macs(second), vni=43)
        for lab in (flannel, second):
            with Sink(lab) as sink, Wire(lab, Traffic(), NIC_CORE) as wire:
                assert sent(wire, sink) == [N]
        counted = running.counted()
        assert (counted["delivered"], counted["passed"]) == (N, N)
        assert not any("VNI 42" in line for line in running.said)


@pytest.mark.parametrize("overlay", ["docker"], indirect=True)
def test_overlays_are_followed_as_they_come_and_go(overlay: Lab) -> None:
    """The second one comes twice: its namespace may have the number of the one that went."""
    with attached(overlay) as running:
        running.await_serving(*macs(overlay))
        for _ in range(2):
            with beside(overlay, SECOND, "wire", "host") as second:
                running.await_serving(*macs(second), vni=43)
                with Sink(second) as sink, Wire(second, Traffic(flows=2), NIC_CORE) as wire:
                    assert sent(wire, sink) == [N // 2, N // 2]
            running.await_line(lambda line: line == "VNI 43 is gone\n")
        with Sink(overlay) as sink, Wire(overlay, Traffic(flows=2), NIC_CORE) as wire:
            assert sent(wire, sink) == [N // 2, N // 2]
        counted = running.counted()
        assert (counted["delivered"], counted["passed"]) == (3 * N, 0)


def test_without_an_overlay_it_waits_for_one(flannel: Lab) -> None:
    plan = flannel.plan
    with attached(flannel) as running, netns.entered(flannel.host_ns), IPRoute() as ip:
        running.await_serving(*macs(flannel))
        tunnel = netns.index(plan.tunnel)
        ip.link("set", index=tunnel, master=0)
        running.await_line(lambda line: line.startswith("not serving VNI 42: its tunnel is on no bridge"))
        running.await_line(lambda line: line == "nothing is served: waiting for an overlay\n")
        ip.link("set", index=tunnel, master=netns.index(plan.bridge))
        running.await_serving(*macs(flannel))
        running.counted()


def test_without_the_nic_it_ends(flannel: Lab) -> None:
    with attached(flannel) as running:
        running.await_serving(*macs(flannel))
        with netns.entered(flannel.host_ns), IPRoute() as ip:
            ip.link("del", index=flannel.nic_index)
        running.await_line(lambda line: "'nic0' is gone: type 'overspray discover'" in line)
        assert running.process.wait(timeout=60) == 1


def test_one_with_rules_is_named_and_left_to_the_stock_path(flannel: Lab) -> None:
    with (
        Program(returning(bpf.TCX_NEXT), Kind.TC, "rules") as program,
        beside(flannel, SECOND, "wire", "host") as second,
    ):
        with netns.entered(second.names["overlay"]):
            rules = Link(program.fd, netns.index("vxlan1"), bpf.ATTACH_TCX_INGRESS)
        done = overspray(
            "attach", "nic0", "--vni", "43", before=("nsenter", f"--net={netns.RUN / flannel.host_ns}")
        )
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "VNI 43: tc on vxlan1 (" in done.stderr and "add --bypass if that may be" in done.stderr
        with attached(flannel) as running, Sink(second) as sink:
            running.await_serving(*macs(flannel))
            refused = "not serving VNI 43: tc on vxlan1 ("
            running.await_line(lambda line: line.startswith(refused))
            with Wire(second, Traffic(flows=2), NIC_CORE) as wire:
                assert sent(wire, sink) == [N // 2, N // 2]
                assert sink.by_core() == {NIC_CORE: N}, "by the stock path"
                rules.close()
                look_again(second)
                running.await_serving(*macs(second), vni=43)
                assert sent(wire, sink) == [N, N]
                with netns.entered(second.names["overlay"]):
                    rules = Link(program.fd, netns.index("vxlan1"), bpf.ATTACH_TCX_INGRESS)
                look_again(second)
                running.await_line(lambda line: line.startswith(refused))
                assert sent(wire, sink) == [3 * N // 2, 3 * N // 2]
            rules.close()
            counted = running.counted()
            assert (counted["delivered"], counted["passed"]) == (N, 2 * N)


def test_two_nics_of_a_namespace_by_two_processes(host_as_found: None) -> None:
    """And what one of them leaves, killed, the next one for its NIC removes: nothing of the other's."""
    plan = OtherNic("docker", 2, vni=43, nic="nic1", wire="wire1", tunnel="vxlan1", bridge="br1")
    with labs.lab("docker") as lab, beside(lab, plan, "host") as other, attached(lab) as one:
        one.await_serving(*macs(lab))
        with attached(other) as killed:
            killed.await_serving(*macs(other), vni=43)
            os.kill(killed.guardian, signal.SIGKILL)  # it would remove it, sooner or later
            killed.end(signal.SIGKILL)
        helpers = hops(lab)
        assert len(helpers) == 2
        with (
            attached(other) as two,
            Sink(lab) as first,
            Sink(other) as second,
            Wire(lab, Traffic(), NIC_CORE) as wire0,
            Wire(other, Traffic(flows=2), NIC_CORE) as wire1,
        ):
            two.await_serving(*macs(other), vni=43)
            assert hops(lab) == helpers
            for turn in range(1, 3):
                assert sent(wire0, first) == [turn * N]
                assert sent(wire1, second) == [turn * N // 2] * 2
            counts = [each.counted() for each in (one, two)]
            assert [(each["delivered"], each["passed"]) for each in counts] == [(2 * N, 0)] * 2
            assert not hops(lab)
