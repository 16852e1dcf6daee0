"""Discovery, following, findings and refreshing on the kernel's own devices."""

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pyroute2 import IPRoute

from bench.lab import Lab
from steering import bpf, netns
from steering.errors import BadInput, OversprayError
from steering.overlay import Overlay, Watch, bypassed, discovered, period, refresh

pytestmark = pytest.mark.root
MakeLab = Callable[..., Lab]


@contextmanager
def inside(ns: str) -> Iterator[IPRoute]:
    with netns.entered(ns), IPRoute() as route:
        yield route


def index_of(route: IPRoute, device: str) -> int:
    return int(route.link_lookup(ifname=device)[0])


def command(ns: str, line: str) -> None:
    """One of the programs that people set such things with."""
    words = line.split()
    if shutil.which(words[0]) is None:
        pytest.skip(f"needs {words[0]}: type 'sudo make test'")
    with netns.entered(ns):
        subprocess.run(words, check=True, capture_output=True)


@pytest.mark.parametrize(("outer", "inner"), [(4, 4), (6, 4), (4, 6), (6, 6)])
@pytest.mark.parametrize("case", ["docker", "flannel", "linux"])
def test_discovery_finds_the_lab(make_lab: MakeLab, case: str, outer: int, inner: int) -> None:
    lab = make_lab(case, outer=outer, inner=inner)
    with discovered(lab.host_ns, lab.nic) as overlay:
        (tunnel,) = overlay.tunnels
        assert overlay.paths == {(lab.spec.vni, lab.vtep_ip, lab.remote_vtep_ip)}
        assert overlay.nic_mac == lab.nic_mac
        assert tunnel.ns.inode == netns.identity(lab.tunnel_ns)
        assert (tunnel.device, tunnel.port) == (lab.tunnel, lab.port)
        assert tunnel.learning is (case == "docker")
        assert tunnel.zero_checksum6
        (end,) = overlay.endpoints
        wanted = lab.endpoints[0]
        assert (end.vni, end.mac, end.device) == (lab.spec.vni, wanted.mac, wanted.device)
        assert wanted.ip in end.ips
        assert end.kind == ("tunnel" if case == "linux" else "veth")
        assert (end.ns.inode, end.host_device) == (netns.identity(wanted.netns), wanted.host_device)
        assert end.host_ns.inode == netns.identity(wanted.host_netns)
        if case != "linux":
            assert end.rx_queues == lab.spec.queue_count


def test_no_overlay_is_no_error(make_lab: MakeLab) -> None:
    lab = make_lab("native")
    with discovered(lab.host_ns, lab.nic) as overlay:
        assert (overlay.tunnels, overlay.endpoints) == (frozenset(), frozenset())
        assert bypassed(overlay) == []
        assert refresh(overlay) == 0


def test_what_is_not_there_is_said(make_lab: MakeLab) -> None:
    lab = make_lab("native")
    with pytest.raises(BadInput, match="no device 'nic9'"), discovered(lab.host_ns, "nic9"):
        pass
    with pytest.raises(OversprayError, match="no network namespace"), discovered("none", "nic0"):
        pass


def test_the_other_host_is_another_overlay(make_lab: MakeLab) -> None:
    lab = make_lab("docker")
    with discovered(lab.wire_ns, lab.wire) as overlay:
        (end,) = overlay.endpoints
        assert end.ns.inode == netns.identity(lab.wire_ns)
        assert overlay.paths == {(lab.spec.vni, lab.remote_vtep_ip, lab.vtep_ip)}


@pytest.mark.slow
def test_eighty_containers_in_under_a_second(make_lab: MakeLab) -> None:
    lab = make_lab("docker", containers=80)
    times = []
    for _ in range(3):
        start = time.monotonic()
        with discovered(lab.host_ns, lab.nic) as overlay:
            times.append(time.monotonic() - start)
            assert {end.mac for end in overlay.endpoints} == {end.mac for end in lab.endpoints}
    assert min(times) < 1


def follow(watch: Watch, holds: Callable[[Overlay], bool], seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while not holds(watch.overlay):
        left = end - time.monotonic()
        assert left > 0, watch.overlay
        watch.changed(left)


def test_watch_sees_containers_come_and_go(make_lab: MakeLab) -> None:
    lab = make_lab("docker", containers=2)
    host_ns, device = lab.endpoints[0].host_netns, lab.endpoints[0].host_device
    with Watch(lab.host_ns, lab.nic) as watch:
        whole = watch.overlay
        assert len(whole.endpoints) == 2
        with inside(host_ns) as route:
            route.link("set", index=index_of(route, device), state="down")
        follow(watch, lambda overlay: len(overlay.endpoints) == 1)
        assert {end.host_device for end in whole.endpoints - watch.overlay.endpoints} == {device}
        with inside(host_ns) as route:
            route.link("set", index=index_of(route, device), state="up")
        follow(watch, lambda overlay: overlay == whole)


def test_watch_sees_a_container_in_a_new_namespace(make_lab: MakeLab, namespace: str) -> None:
    lab = make_lab("docker")
    with Watch(lab.host_ns, lab.nic, rescan=0.2) as watch:
        late = f"{namespace}-late"
        netns.create(late)
        try:
            with inside(lab.endpoints[0].host_netns) as route:
                peer = {"ifname": "eth0", "net_ns_fd": late}
                route.link("add", ifname="late0", kind="veth", peer=peer)
                bridge = index_of(route, lab.bridge)
                route.link("set", index=index_of(route, "late0"), master=bridge, state="up")
            with inside(late) as route:
                route.link("set", index=index_of(route, "eth0"), state="up")
            follow(watch, lambda overlay: any(end.ns.name == late for end in overlay.endpoints))
        finally:
            netns.remove(late)
        follow(watch, lambda overlay: len(overlay.endpoints) == 1)
        # We held the namespace open: only as we let go of it, its devices vanish.
        with inside(lab.endpoints[0].host_netns) as route:
            end = time.monotonic() + 5
            while route.link_lookup(ifname="late0"):
                assert time.monotonic() < end
                time.sleep(0.05)


def test_watch_sees_remote_hosts(make_lab: MakeLab) -> None:
    lab = make_lab("flannel")
    with Watch(lab.host_ns, lab.nic) as watch, inside(lab.host_ns) as route:
        tunnel = index_of(route, lab.tunnel)
        entry: dict[str, Any] = {"ifindex": tunnel, "lladdr": "02:00:00:00:00:77"}
        route.fdb("append", dst="198.18.0.77", state=0x80, **entry)
        follow(watch, lambda overlay: ("02:00:00:00:00:77", "198.18.0.77") in _macs(overlay))
        route.fdb("del", dst="198.18.0.77", **entry)
        follow(watch, lambda overlay: all(ip != "198.18.0.77" for _, ip in _macs(overlay)))


def _macs(overlay: Overlay) -> set[tuple[str, str]]:
    return {pair for tunnel in overlay.tunnels for pair in tunnel.remote_macs}


def test_watch_sleeps_while_nothing_happens_and_stops_when_told(make_lab: MakeLab) -> None:
    lab = make_lab("docker")
    with Watch(lab.host_ns, lab.nic, rescan=0.2) as watch:
        before = time.thread_time()
        assert watch.changed(1.5) is None
        assert time.thread_time() - before < 0.3
        threading.Timer(0.2, watch.stop).start()
        assert list(watch) == [watch.overlay]


def test_watch_says_when_the_nic_is_gone(make_lab: MakeLab) -> None:
    lab = make_lab("docker")
    with Watch(lab.host_ns, lab.nic) as watch:
        with inside(lab.host_ns) as route:
            route.link("del", index=index_of(route, lab.nic))
        with pytest.raises(BadInput, match="no device 'nic0'"):
            watch.changed(5)


def rules(lab: Lab) -> list[str]:
    with discovered(lab.host_ns, lab.nic) as overlay:
        return [finding.text for finding in bypassed(overlay) if finding.severity == "rule"]


@pytest.mark.parametrize("case", ["docker", "flannel", "linux"])
def test_a_lab_has_nothing_to_bypass(make_lab: MakeLab, case: str) -> None:
    assert rules(make_lab(case)) == []


HARMLESS = [
    "-A INPUT -i lo -j ACCEPT",
    "-A INPUT -p tcp --dport 4789 -j DROP",
    "-A INPUT -p udp -m udp --dport 53 -j DROP",
    "-A INPUT -s 10.0.0.0/8 -j DROP",
    "-A INPUT -i docker0 -j DROP",
    "-t nat -A PREROUTING -p tcp --dport 80 -j REDIRECT",
    "-P FORWARD DROP",
]
HARMFUL = [
    ("-A INPUT -p udp --dport 4000:5000 -j DROP", "(drop)"),
    ("-A INPUT ! -i lo -j DROP", "(drop)"),
    ("-A INPUT -s 198.18.0.0/15 -j MARK --set-mark 1", "(MARK)"),
    ("-A INPUT -p udp -m length --length 1000: -j DROP", "(drop)"),
    ("-P INPUT DROP", "the policy (drop)"),
]


@pytest.mark.parametrize("tool", ["iptables-nft", "iptables-legacy"])
def test_rules_of_a_packet_filter(make_lab: MakeLab, tool: str) -> None:
    lab = make_lab("docker")
    for rule in HARMLESS:
        command(lab.host_ns, f"{tool} {rule}")
    assert rules(lab) == []
    for rule, said in HARMFUL:
        command(lab.host_ns, f"{tool} {rule}")
        (found,) = rules(lab)
        assert said in found
        if rule.startswith("-A"):
            command(lab.host_ns, f"{tool} {rule}".replace("-A", "-D"))
    # The tunnel's packets are let through by name, so the policy does not hold for them.
    accept = f"-A INPUT -p udp --dport 4789 -s {lab.remote_vtep_ip} -j ACCEPT"
    command(lab.host_ns, f"{tool} {accept}")
    assert rules(lab) == []


@pytest.mark.parametrize("tool", ["ip6tables-nft", "ip6tables-legacy"])
def test_rules_for_an_ipv6_underlay(make_lab: MakeLab, tool: str) -> None:
    lab = make_lab("docker", outer=6)
    command(lab.host_ns, f"{tool} -A INPUT -s fe80::/10 -j DROP")
    assert rules(lab) == []
    command(lab.host_ns, f"{tool} -N MINE")
    command(lab.host_ns, f"{tool} -A MINE -s {lab.remote_vtep_ip} -j DROP")
    assert rules(lab) == []
    command(lab.host_ns, f"{tool} -A INPUT -p udp -j MINE")
    (found,) = rules(lab)
    assert "of MINE (drop)" in found


def test_rules_for_bridged_packets_count_with_bridge_netfilter_only(make_lab: MakeLab) -> None:
    lab = make_lab("docker")
    assert lab.overlay_ns is not None
    command(lab.overlay_ns, "iptables-nft -A FORWARD -p tcp -j DROP")
    assert rules(lab) == []
    with inside(lab.overlay_ns) as route:
        route.link("set", index=index_of(route, lab.bridge), kind="bridge", br_nf_call_iptables=1)
    (found,) = rules(lab)
    assert "FORWARD" in found


def test_rules_of_the_bridge_itself(make_lab: MakeLab) -> None:
    lab = make_lab("flannel")
    command(lab.host_ns, "ebtables-nft -A FORWARD -p arp -j DROP")
    assert rules(lab) == []
    command(lab.host_ns, "ebtables-nft -A FORWARD -p ip -i vxlan0 -j DROP")
    assert len(rules(lab)) == 1


def test_shapers_and_programs_on_the_way(make_lab: MakeLab) -> None:
    lab = make_lab("docker")
    assert lab.overlay_ns is not None
    with inside(lab.overlay_ns) as route:
        port = index_of(route, lab.endpoints[0].host_device)
        route.tc("add", kind="tbf", index=port, rate="10mbit", burst=10240, latency="10ms")
    assert rules(lab) == [f"qdisc tbf on veth0, in '{lab.overlay_ns}'"]

    # r0 = TCX_NEXT; exit
    accept = bytes.fromhex("b700000000000000 9500000000000000".replace(" ", ""))
    program = bpf.prog_load(accept, bpf.PROG_TYPE_SCHED_CLS, 0, "guest")
    number, _ = bpf.prog_info(program)
    with netns.entered(lab.host_ns):
        link = bpf.link_create(program, socket.if_nametoindex(lab.nic), bpf.ATTACH_TCX_INGRESS)
        capture = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    try:
        assert f"tc ingress program on nic0: id {number}, in '{lab.host_ns}'" in rules(lab)
        with discovered(lab.host_ns, lab.nic) as overlay:
            found = {
                finding.text: finding.severity for finding in bypassed(overlay, frozenset({number}))
            }
        assert f"tc ingress program on nic0: id {number}, in '{lab.host_ns}'" not in found
        assert found[f"packet capture on any device, in '{lab.host_ns}'"] == "note"
    finally:
        capture.close()
        for fd in (link, program):
            os.close(fd)


def test_entries_that_someone_sends_to_are_kept_alive(make_lab: MakeLab) -> None:
    lab = make_lab("docker")
    assert lab.overlay_ns is not None
    end, stranger = lab.endpoints[0], "02:00:00:00:00:88"
    with inside(lab.overlay_ns) as route:
        tunnel = index_of(route, lab.tunnel)
        # Known to tunnel and bridge for good, as the lab is made; here they are to be learned.
        route.fdb("del", ifindex=tunnel, lladdr=end.peer_mac, dst=lab.remote_vtep_ip, flags=2)
        route.fdb("del", ifindex=tunnel, lladdr=end.peer_mac, flags=4)
        # Not `fdb`, which makes every entry a static one.
        route.neigh("add", family=7, ifindex=tunnel, lladdr=stranger, flags=4, state="reachable")
    with netns.entered(lab.wire_ns), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"hello", (end.ip, 9))
    time.sleep(1.2)
    with discovered(lab.host_ns, lab.nic) as overlay:
        assert period(overlay) == pytest.approx(100)
        assert refresh(overlay) == 2
    ages = _ages(lab)
    assert len(ages[end.peer_mac]) == 2
    assert max(ages[end.peer_mac]) < 1 <= min(ages[stranger])


def _ages(lab: Lab) -> dict[str, list[float]]:
    """Seconds since each learned entry of bridge and tunnel was last confirmed."""
    found: dict[str, list[float]] = {}
    with inside(str(lab.overlay_ns)) as route:
        for entry in route.fdb("dump"):
            if not entry["state"] & 0xC0 and (info := entry.get_attr("NDA_CACHEINFO")):
                found.setdefault(entry.get_attr("NDA_LLADDR"), []).append(info["ndm_updated"] / 100)
    return found


def test_a_look_holds_on_to_nothing_else(make_lab: MakeLab, namespace: str) -> None:
    """Or a container that has nothing to do with it would live on."""
    lab = make_lab("flannel")
    other = netns.identity(namespace)
    with discovered(lab.host_ns, lab.nic):
        held = {path.stat().st_ino for path in Path("/proc/self/fd").iterdir() if path.exists()}
        assert other not in held
        assert netns.identity(lab.host_ns) in held
