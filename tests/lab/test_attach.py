"""``overspray attach`` on overlays that the lab made: discovered, served, followed, and left as they were."""

import json
import os
import signal
from dataclasses import replace

import pytest
from attaching import attached, host_links, macs
from commands import here, overspray
from ground import NIC_CORE, WORKER_CORE
from pyroute2 import IPRoute

from bench.lab import Lab
from bench.seen import passing
from bench.sink import Sink
from bench.traffic import Traffic
from bench.wire import Wire
from steering import bpf, discover, netns, served
from steering.attached import FOLDER, holders
from steering.bpf import Kind, Link, Program, returning
from steering.settings import Feature
from steering.waiting import wait_for

N = 640


def set_master(lab: Lab, place: int, *, on_the_bridge: bool) -> None:
    """Let a container's port join the bridge, with its forwarding entry, or leave it."""
    plan = lab.plan
    each = plan.containers[place]
    with netns.entered(lab.names[plan.overlay_role]), IPRoute() as ip:
        [port] = ip.link_lookup(ifname=each.veth)
        if on_the_bridge:
            ip.link("set", index=port, master=ip.link_lookup(ifname=plan.bridge)[0])
            ip.fdb("add", ifindex=port, lladdr=each.mac, flags=0x04, state=0x40)
        else:
            ip.link("set", index=port, master=0)


def test_what_is_discovered_is_what_the_lab_knows(overlay: Lab) -> None:
    found, plain = discover.discover(), overlay.target
    [nic] = {nic for each in found.overlays for nic in each.nics if nic.namespace.name == plain.nic.ns}
    target = served.target_of(found, nic, served.behind(found, nic, None, bypass=False))
    [tunnel] = target.tunnels
    by_mac = sorted(tunnel.endpoints, key=lambda end: end.mac)
    assert replace(target, tunnels=(replace(tunnel, endpoints=tuple(by_mac)),)) == plain


def test_every_packet_takes_the_fast_path_and_then_all_is_as_it_was(overlay: Lab) -> None:
    before = host_links(overlay)
    with (
        attached(overlay) as running,
        Sink(overlay) as sink,
        Wire(overlay, Traffic(flows=2), NIC_CORE) as wire,
    ):
        running.await_serving(*macs(overlay))
        wire.send_windowed(N, lambda: sink.delivered)
        code, out = running.end()
        assert code == 0, running.said
        counted = json.loads(out)
        assert (sink.delivered, counted["delivered"], counted["passed"]) == (N, N, 0)
        assert counted["done"] == {str(WORKER_CORE): N // 2}, "every second one went to the worker"
        assert counted["drops"] == {}
    assert host_links(overlay) == before


@pytest.mark.parametrize("overlay", ["docker"], indirect=True)
def test_generic_xdp_is_for_those_who_ask_for_it(overlay: Lab) -> None:
    before = host_links(overlay)
    with (
        attached(overlay, "--generic") as running,
        Sink(overlay) as sink,
        Wire(overlay, Traffic(flows=2), NIC_CORE) as wire,
    ):
        assert "by generic XDP (slow)" in running.await_line(lambda line: line.startswith("attached "))
        running.await_serving(*macs(overlay))
        with netns.entered(overlay.host_ns):
            Feature("nic0", "rx-gro").write("on")  # so that it has NAPI, for what the wire sends
        wire.send_windowed(N, lambda: sink.delivered)
        counted = running.counted()
        assert (sink.delivered, counted["delivered"], counted["passed"]) == (N, N, 0)
        assert counted["done"] == {str(WORKER_CORE): N // 2}
    assert host_links(overlay) == before


def test_containers_are_followed_as_they_come_and_go(overlay: Lab) -> None:
    first, second = macs(overlay)
    set_master(overlay, 1, on_the_bridge=False)
    with (
        attached(overlay) as running,
        Sink(overlay) as sink,
        Wire(overlay, Traffic(flows=2), NIC_CORE) as wire,
    ):
        running.await_serving(first)
        set_master(overlay, 1, on_the_bridge=True)
        running.await_serving(first, second)
        wire.send_windowed(N, lambda: sink.delivered)
        set_master(overlay, 0, on_the_bridge=False)
        running.await_serving(second)
        counted = json.loads(running.end()[1])
        assert (counted["delivered"], counted["passed"]) == (N, 0)


def test_killed_it_leaves_the_stock_path_and_the_next_one_just_works(overlay: Lab) -> None:
    with attached(overlay) as running:
        running.await_serving(*macs(overlay))
        running.end(signal.SIGKILL)
    wait_for(lambda: not any(host_links(overlay).values()), "its program to go")
    with passing(overlay), Sink(overlay) as sink, Wire(overlay, Traffic(flows=2), NIC_CORE) as wire:
        wire.send_windowed(N, lambda: sink.delivered)
    with attached(overlay) as running:
        running.await_serving(*macs(overlay))
        assert running.end()[0] == 0
    assert not any(name.startswith("os-hop") for name in host_links(overlay))


def test_a_second_one_is_told_who_is_there(flannel: Lab) -> None:
    with attached(flannel) as running:
        running.await_serving(*macs(flannel))
        with netns.entered(flannel.host_ns):
            done = overspray("attach", flannel.plan.nic)
        assert done.returncode == 1
        pid = running.process.pid
        inode = netns.inode(flannel.host_ns)
        holder = json.loads((FOLDER / f"{inode}-{flannel.nic_index}").read_text())
        assert holder.items() >= {"pid": pid, "device": "nic0", "namespace": flannel.host_ns}.items()
        assert done.stderr.strip().endswith(
            f"attach to 'nic0': process {pid} is attached to it: type 'overspray detach nic0' first"
        )
        assert running.end(signal.SIGTERM)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("vxlan0",), "'vxlan0' is a VXLAN device, not a NIC: type 'overspray discover nic0'"),
        (("nic0", "--vni", "7"), "no overlay with VNI 7 behind 'nic0': choose from {vni}"),
        (("nic0", "--policy", "best"), "unknown policy 'best': choose from adaptive"),
        (("nic0", "--policy", "local:deliver=veth"), "choose deliver=peer"),
        (("nic0", "--generic", "--policy", "local:stack=1"), "stack= with --generic: RPS would move packets"),
        (("nic0", "--cpus", "9999"), "core 9999 is not to be used here: choose from"),
        (
            ("nic0", "--cpus", "0", "--policy", "local:mask=1"),
            "--cpus and mask= both name the workers' cores",
        ),
    ],
)
def test_bad_input_is_one_line_and_changes_nothing(
    flannel: Lab, arguments: tuple[str, ...], told: str
) -> None:
    before = host_links(flannel)
    with netns.entered(flannel.host_ns):
        done = here("attach", *arguments)
    told = told.replace("{vni}", str(flannel.plan.vni))
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr and done.stderr.count("\n") == 1
    assert host_links(flannel) == before


def test_a_foreign_program_is_left_alone(flannel: Lab) -> None:
    with Program(returning(bpf.XDP_PASS), Kind.XDP, "foreign") as program, netns.entered(flannel.host_ns):
        index = netns.index("nic0")
        with Link(program.fd, index, bpf.ATTACH_XDP, bpf.XDP_NATIVE):
            done = overspray("attach", "nic0")
            assert done.returncode == 2
            assert (
                "'nic0': it has an XDP program already (native): detach that first, or add --force"
                in done.stderr
            )
            done = here("attach", "nic0", "--force")
            assert done.returncode == 1 and "held by a bpf link: end the process that holds it" in done.stderr
            assert host_links(flannel)["nic0"]


def xdp_of(lab: Lab) -> int:
    with netns.entered(lab.host_ns), IPRoute() as ip:
        [link] = ip.get_links(lab.nic_index)
        return int(link.get_attr("IFLA_XDP").get_attr("IFLA_XDP_PROG_ID") or 0)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_with_force_a_foreign_program_is_back_in_the_end(flannel: Lab, end: int) -> None:
    with (
        Program(returning(bpf.XDP_PASS), Kind.XDP, "foreign") as program,
        netns.entered(flannel.host_ns),
        IPRoute() as ip,
    ):
        told = {"attrs": [("IFLA_XDP_FD", program.fd), ("IFLA_XDP_FLAGS", bpf.XDP_NATIVE)]}
        ip.link("set", index=flannel.nic_index, IFLA_XDP=told)
    number = xdp_of(flannel)
    assert number
    with (
        attached(flannel, "--force") as running,
        Sink(flannel) as sink,
        Wire(flannel, Traffic(flows=2), NIC_CORE) as wire,
    ):
        running.await_serving(*macs(flannel))
        assert xdp_of(flannel) not in (0, number)
        wire.send_windowed(N, lambda: sink.delivered)
        running.end(end)
        wait_for(lambda: xdp_of(flannel) == number, "it to be back")
        wire.send_windowed(N, lambda: sink.delivered)


def test_somebodys_tc_on_the_nic_is_named_and_left_alone(flannel: Lab) -> None:
    with (
        Program(returning(bpf.TCX_NEXT), Kind.TC, "rules") as program,
        netns.entered(flannel.host_ns),
        Link(program.fd, flannel.nic_index, bpf.ATTACH_TCX_INGRESS),
    ):
        done = here("attach", "nic0")
        assert done.returncode == 2
        assert "would see packets without their tunnel: add --bypass if that may be" in done.stderr
        assert os.getpid() not in {each.pid for each in holders()}, "which has refused, and goes on"
        with attached(flannel, "--bypass") as running:
            running.await_line(lambda line: line.startswith("bypassed on nic0: tc on it (1 tcx program on"))
            running.await_serving(*macs(flannel))
            assert running.end()[0] == 0


def test_rules_are_skipped_only_where_that_is_allowed(flannel: Lab) -> None:
    with (
        Program(returning(bpf.TCX_NEXT), Kind.TC, "rules") as program,
        netns.entered(flannel.host_ns),
        Link(program.fd, netns.index("vxlan0"), bpf.ATTACH_TCX_INGRESS),
    ):
        done = overspray("attach", "nic0")
        assert done.returncode == 2
        assert "packets past the tunnel device skip it: add --bypass if that may be" in done.stderr
        with attached(flannel, "--bypass") as running:
            running.await_serving(*macs(flannel))
            assert any(line.startswith("bypassed for VNI 42: tc on vxlan0 (") for line in running.said)
            assert running.end()[0] == 0
