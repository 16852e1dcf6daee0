"""Stock settings on a lab's devices: in effect as asked for, and put back exactly as they were found."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from commands import DYING_WITH_US, ROOT
from ground import NIC_CORE, WORKER_CORE, passing
from pyroute2 import IPRoute

from bench.lab import Lab
from bench.sink import Sink
from bench.traffic import Traffic
from bench.wire import Wire
from steering import cores, napi, netns, stock, sysfs
from steering.errors import OversprayError
from steering.settings import (
    Attribute,
    Feature,
    Missing,
    NapiCores,
    RpsFlows,
    RpsMask,
    Setting,
    Sysctl,
    Threaded,
)
from steering.spec import Spec
from steering.target import Place, Target
from steering.undo import Changes, put_back_leftovers
from steering.waiting import wait_for

ROOM = Sysctl("net/core/somaxconn")
"""A sysctl of each namespace, which nothing here depends on."""
MASK, FIRST = f"{1 << WORKER_CORE:x}", f"{1 << NIC_CORE:x}"
FEATURES = ("rx-gro", "rx-gro-list", "rx-udp-gro-forwarding")
DEVICES = ("nic0", "vxlan0", "eth0")
OFF = {
    **{f"{device} {file}": "0" for device in DEVICES for file in ("rps_cpus", "rps_flow_cnt")},
    **{f"nic0 {name}": "off" for name in FEATURES},
    **{f"nic0 {name}": "0" for name in ("threaded", "gro_flush_timeout", "napi_defer_hard_irqs")},
}
N = 1024


def state(target: Target) -> dict[str, str]:
    """All that stock settings could change, raw: each queue by itself, each sysctl as its file has it."""
    assert target.tunnel
    found: dict[str, str] = {}
    for place in (target.nic, target.tunnel.place, *(endpoint.own for endpoint in target.endpoints)):
        with netns.entered(place.ns):
            for name in (*FEATURES, "tx-checksum-ip-generic", "tx-tcp-segmentation"):
                found[f"{place} {name}"] = Feature(place.device, name).read()
            for path in (ROOM.path, *sorted(Path("/proc/sys/net/bridge").glob("*"))):
                found[f"{place.ns} {path}"] = path.read_text()
            with sysfs.opened() as root:
                files = [
                    f"queues/rx-{queue}/rps_{file}"
                    for queue in range(queues(place))
                    for file in ("cpus", "flow_cnt")
                ]
                for file in (*files, "threaded", "gro_flush_timeout", "napi_defer_hard_irqs"):
                    found[f"{place} {file}"] = sysfs.read(root, f"class/net/{place.device}/{file}")
    return found


def queues(place: Place) -> int:
    with netns.entered(place.ns), IPRoute() as ip:
        [link] = ip.get_links(netns.index(place.device))
        return int(link.get("num_rx_queues"))


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in after.items() if before[name] != value}


def opposite(place: Place, name: str) -> str:
    with netns.entered(place.ns):
        return "off" if Feature(place.device, name).read() == "on" else "on"


def test_each_kind_is_set_and_put_back(overlay: Lab, tmp_path: Path) -> None:
    target, before = overlay.target, state(overlay.target)
    assert target.tunnel
    nic, tunnel = target.nic, target.tunnel.place
    changed: list[tuple[Place, Setting, str]] = [
        (nic, RpsMask(nic.device), MASK),
        (tunnel, RpsMask(tunnel.device), MASK),
        (target.endpoints[0].own, RpsMask("eth0"), MASK),
        (tunnel, RpsFlows(tunnel.device), "64"),
        (nic, Attribute(nic.device, "gro_flush_timeout"), "20000"),
        (nic, Attribute(nic.device, "napi_defer_hard_irqs"), "3"),
        (nic, Threaded(nic.device), "1"),  # without XDP, without GRO: nothing polls it
        (nic, ROOM, "77"),
    ]
    for name in ("rx-gro", "rx-gro-list", "rx-udp-gro-forwarding", "tx-tcp-segmentation"):
        changed.append((nic, Feature(nic.device, name), opposite(nic, name)))
    for place, setting, value in changed:
        with Changes(tmp_path) as changes:
            changes.set(place.ns, setting, value)
            with netns.entered(place.ns):
                assert setting.read() == value
            assert differences(before, state(target))
        assert state(target) == before
    assert not list(tmp_path.iterdir())


def test_queues_that_differ_are_put_back_each_as_it_was(flannel: Lab, tmp_path: Path) -> None:
    target, setting = flannel.target, RpsMask(flannel.target.nic.device)
    count = queues(target.nic)
    masks = " ".join([MASK] + ["0"] * (count - 1))  # one mask alone, where there is one queue
    with netns.entered(target.nic.ns):
        setting.write(masks)
        assert setting.read() == masks
    before = state(target)
    with Changes(tmp_path) as changes:
        changes.set(target.nic.ns, setting, "0")
        assert len(differences(before, state(target))) == 1
    assert state(target) == before


def test_other_namespaces_are_left_alone(flannel: Lab, tmp_path: Path) -> None:
    own = ROOM.read()
    with Changes(tmp_path) as changes:
        changes.set(flannel.host_ns, ROOM, "77")
        assert ROOM.read() == own != "77"


def test_what_is_not_there_is_said(flannel: Lab) -> None:
    missing = [RpsMask("nic9"), Feature("nic9", "rx-gro"), Feature("nic0", "rx-gpo"), Sysctl("net/core/no")]
    missing += [RpsFlows("nic9"), Attribute("nic0", "no"), Threaded("nic9"), NapiCores("nic0")]
    with netns.entered(flannel.host_ns):
        for setting in missing:
            with pytest.raises(Missing):
                setting.read()
            with pytest.raises(Missing):
                setting.write("1")


def test_what_the_kernel_refuses_is_said_and_changes_nothing(flannel: Lab, tmp_path: Path) -> None:
    target, before = flannel.target, state(flannel.target)
    refused = {
        Feature("nic0", "rx-lro"): "on",
        ROOM: "many",
        RpsMask("nic0"): " ".join(["0"] * (queues(target.nic) + 1)) + " 1",
        Attribute("nic0", "napi_defer_hard_irqs"): "-1",
    }
    with Changes(tmp_path) as changes:
        for setting, value in refused.items():
            with pytest.raises(OversprayError, match=f"^set {setting}"):
                changes.set(target.nic.ns, setting, value)
    assert state(target) == before


def test_what_is_gone_is_nobodys_loss(flannel: Lab, tmp_path: Path) -> None:
    with netns.entered(flannel.host_ns):
        found = ROOM.read()
    other = f"{flannel.host_ns}-test"
    netns.create(other)
    try:
        with Changes(tmp_path) as changes:
            changes.set(flannel.host_ns, ROOM, "77")
            changes.set(flannel.host_ns, RpsMask("vxlan0"), MASK)
            changes.set(other, ROOM, "77")
            with netns.entered(flannel.host_ns), IPRoute() as ip:
                ip.link("del", index=netns.index("vxlan0"))
            netns.remove(other)
            netns.create(other)  # another one of that name
            with netns.entered(other):
                ROOM.write("88")
        with netns.entered(other):
            assert ROOM.read() == "88"
        with netns.entered(flannel.host_ns):
            assert ROOM.read() == found
    finally:
        netns.remove(other)
    assert not list(tmp_path.iterdir())


VICTIM = """
import sys
from pathlib import Path
from steering import bpf, netns
from steering.bpf import Kind, Link, Program, returning
from steering.settings import Attribute, Feature, NapiCores, RpsFlows, RpsMask, Sysctl, Threaded
from steering.undo import Changes

ns, folder, mask, gro = sys.argv[1:]
with Program(returning(bpf.XDP_PASS), Kind.XDP) as program, Changes(Path(folder)) as changes:
    with netns.entered(ns):
        polled = Link(program.fd, netns.index("nic0"), bpf.ATTACH_XDP, bpf.XDP_NATIVE)
    changes.set(ns, Threaded("nic0"), "1")
    changes.set(ns, NapiCores("nic0"), mask)
    changes.set(ns, Attribute("nic0", "gro_flush_timeout"), "20000")
    changes.set(ns, RpsFlows("nic0"), "64")
    changes.set(ns, Sysctl("net/core/somaxconn"), "77")
    changes.set(ns, RpsMask("nic0"), mask)
    changes.set(ns, Feature("nic0", "rx-gro"), gro)
    print("changed", flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_process_left_is_put_back(overlay: Lab, tmp_path: Path) -> None:
    target, before = overlay.target, state(overlay.target)
    ns, gro = target.nic.ns, opposite(target.nic, "rx-gro")
    run = [*DYING_WITH_US, sys.executable, "-c", VICTIM, ns, str(tmp_path), MASK, gro]
    with subprocess.Popen(run, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "changed\n"
        changed = state(target)
        assert len(differences(before, changed)) >= 3
        assert put_back_leftovers(tmp_path) == [], "it lives"
        assert state(target) == changed
        process.kill()
    done = put_back_leftovers(tmp_path)  # the threads are gone with the program, and their cores with them
    assert [line.partition(" in ")[0].removesuffix(" of nic0") for line in done] == [
        *("rx-gro", "rps_cpus", str(ROOM), "rps_flow_cnt", "gro_flush_timeout", "threaded"),
    ]
    assert state(target) == before
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("steering", "coalescing", "expected"),
    [
        ("none", "", {}),
        (None, "gro", {"nic0 rx-gro": "on"}),
        (
            f"rps-veth:mask={MASK}",
            "udp-forward",
            {"eth0 rps_cpus": MASK, "nic0 rx-gro": "on", "nic0 rx-udp-gro-forwarding": "on"},
        ),
        (
            f"rps:mask=1,vxlan={MASK},veth=1",
            "",
            {"nic0 rps_cpus": "1", "vxlan0 rps_cpus": MASK, "eth0 rps_cpus": "1"},
        ),
        (
            None,
            "defer:usecs=50,irqs=3",
            {"nic0 gro_flush_timeout": "50000", "nic0 napi_defer_hard_irqs": "3"},
        ),
        (f"rps:mask={MASK}", "", {"nic0 rps_cpus": MASK}),
        (
            f"rps-vxlan:mask={MASK}",
            "gro-list",
            {"vxlan0 rps_cpus": MASK, "nic0 rx-gro": "on", "nic0 rx-gro-list": "on"},
        ),
    ],
)
def test_what_is_applied_is_in_effect_whatever_was_before(
    overlay: Lab, steering: str | None, coalescing: str, expected: dict[str, str], tmp_path: Path
) -> None:
    target = overlay.target
    assert target.tunnel
    for place in (target.nic, target.tunnel.place, *(endpoint.own for endpoint in target.endpoints)):
        with netns.entered(place.ns):
            RpsMask(place.device).write("1")
            RpsFlows(place.device).write("64")
    with netns.entered(target.nic.ns):
        for name in FEATURES:
            Feature("nic0", name).write("on")
        Attribute("nic0", "gro_flush_timeout").write("9000")
        Threaded("nic0").write("1")
    before, found = state(target), stock.effective(target)
    with Changes(tmp_path) as changes:
        spec = Spec.parse(steering) if steering else None
        more = [Spec.parse(coalescing)] if coalescing else []
        stock.apply(target, spec, more, cores.usable()[0], changes)
        now = stock.effective(target)
        assert {name: now[name] for name in OFF} == {**OFF, **expected}
        assert (
            now.keys() == found.keys() - {"nic0 napi_cores"} >= {"nic0 tx-checksum-ip-generic", "eth0 rx-gro"}
        )
        assert now["nic0 mtu"] == str(overlay.plan.mtu)
        assert now.get("bridge-nf-call-iptables", "0") == "0"
    assert state(target) == before and stock.effective(target) == found


def test_netfilter_is_of_the_bridges_namespace(overlay: Lab, tmp_path: Path) -> None:
    """Where the kernel has no bridge netfilter, asking for it is refused."""
    target, before = overlay.target, state(overlay.target)
    assert target.tunnel
    with netns.entered(target.tunnel.place.ns):
        there = Path("/proc/sys/net/bridge/bridge-nf-call-iptables").exists()
    with Changes(tmp_path) as changes:
        for value in ("0", "1"):
            spec = Spec("none", {"netfilter": value})
            if value == "1" and not there:
                with pytest.raises(OversprayError, match="modprobe br_netfilter"):
                    stock.apply(target, spec, [], 0, changes)
            else:
                stock.apply(target, spec, [], 0, changes)
                assert stock.effective(target).get("bridge-nf-call-iptables", "0") == value
    assert state(target) == before


def test_without_a_tunnel_only_the_nic_is_set(lab: Lab, tmp_path: Path) -> None:
    found = stock.effective(lab.target)
    assert all(name.startswith("nic0 ") for name in found.keys() - {"rps_sock_flow_entries"})
    with Changes(tmp_path) as changes:
        with pytest.raises(OversprayError, match="for tunnel and bridge"):
            stock.apply(lab.target, Spec("rps-vxlan"), [Spec("gro")], 0, changes)
        assert stock.effective(lab.target) == found
        stock.apply(lab.target, Spec("rps", {"mask": MASK}), [Spec("gro")], 0, changes)
        now = stock.effective(lab.target)
        assert (now["nic0 rps_cpus"], now["nic0 rx-gro"]) == (MASK, "on")
    assert stock.effective(lab.target) == found


def received(place: Place) -> int:
    with netns.entered(place.ns), IPRoute() as ip:
        [link] = ip.get_links(netns.index(place.device))
        return int(link.get("stats64")["rx_packets"])


@contextmanager
def flowing(lab: Lab) -> Iterator[tuple[Sink, Wire]]:
    """Wire and sink of a lab, under a program without which nothing polls the NIC."""
    with passing(lab), Sink(lab) as sink, Wire(lab, Traffic(), NIC_CORE) as wire:
        yield sink, wire


@contextmanager
def applied(lab: Lab, text: str, tmp_path: Path) -> Iterator[dict[str, str]]:
    """What is in effect until the block ends; then everything is as it was found."""
    steering, *more = map(Spec.parse, text.split("+"))
    before = state(lab.target)
    with Changes(tmp_path) as changes:
        stock.apply(lab.target, steering, more, NIC_CORE, changes)
        yield stock.effective(lab.target)
    assert state(lab.target) == before
    assert not list(tmp_path.iterdir())


@pytest.mark.needs("RPS", "UDP forwarding")
def test_packets_go_to_the_core_that_was_asked_for(overlay: Lab, tmp_path: Path) -> None:
    """All of them, where the mask is of one core; and each for itself, also those merged on their way."""
    [own, _] = (endpoint.own for endpoint in overlay.target.endpoints)
    with flowing(overlay) as (sink, wire):
        for text, core, most in (
            ("none+gro", NIC_CORE, N),
            (f"rps-veth:mask={MASK}", WORKER_CORE, N),
            (f"rps:mask={MASK},vxlan={FIRST},veth={MASK}", WORKER_CORE, N),
            (f"rps-vxlan:mask={MASK},veth={FIRST}", NIC_CORE, N),
            ("none+udp-forward", NIC_CORE, N // 2),  # a window is one burst: nearly all of it is one packet
            (f"rps-veth:mask={MASK}+udp-forward", WORKER_CORE, N // 2),
        ):
            with applied(overlay, text, tmp_path):
                before = received(own)
                sink.begin(1)
                wire.send_windowed(N, lambda: sink.delivered)
                assert sink.by_core() == {core: N}, text
                assert sink.counts()["bytes"] == N * Traffic.payload
                assert sink.order().reordered == 0
                packets = received(own) - before
                assert packets == N if most == N else 0 < packets <= most, text


@pytest.mark.needs("threaded NAPI")
def test_threads_poll_the_nic_on_the_cores_they_are_given(flannel: Lab, tmp_path: Path) -> None:
    nic = flannel.target.nic
    with flowing(flannel) as (sink, wire):
        with applied(flannel, f"none+threaded:mask={MASK}", tmp_path) as shown:
            assert (shown["nic0 threaded"], shown["nic0 napi_cores"]) == ("1", MASK)
            with netns.entered(nic.ns):
                threads = napi.threads(nic.device)
            assert len(threads) == queues(nic)
            for thread in threads:
                assert Path(f"/proc/{thread}/comm").read_text().startswith("napi/nic0-")
                assert os.sched_getaffinity(thread) == {WORKER_CORE}
            wire.send_windowed(N, lambda: sink.delivered)
            assert sink.by_core() == {WORKER_CORE: N}
        with netns.entered(nic.ns):
            assert napi.threads(nic.device) == []
        wire.send_windowed(N, lambda: sink.delivered)
        assert sink.by_core() == {WORKER_CORE: N, NIC_CORE: N}


@pytest.mark.needs("NAPI deferral")
def test_a_deferred_poll_waits_for_its_timer(flannel: Lab, tmp_path: Path) -> None:
    """After a poll the NIC is polled by the timer alone: what comes meanwhile waits, and is not lost."""
    with flowing(flannel) as (sink, wire), applied(flannel, "none+defer:usecs=100000,irqs=2", tmp_path):

        def waits() -> bool:
            wire.send_windowed(8, lambda: sink.delivered)
            wire.send(8)
            waiting = wire.sent - sink.delivered
            wait_for(lambda: sink.delivered == wire.sent, "the timer")
            return waiting == 8

        wait_for(waits, "a poll to be put off")


@pytest.mark.needs("RFS")
def test_rfs_has_its_tables_and_the_machines_is_put_back(overlay: Lab, tmp_path: Path) -> None:
    """That packets follow a reader takes one: here it is the settings."""
    entries = Sysctl("net/core/rps_sock_flow_entries")
    with Path("/run/overspray/rfs.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the whole machine's: another test run may want it, too
        found = entries.read()
        with applied(overlay, f"rfs-vxlan:mask={MASK}", tmp_path) as shown:
            assert entries.read() == shown["rps_sock_flow_entries"] == "32768"
        assert entries.read() == found
    assert {name: shown[name] for name in OFF} == {
        **OFF,
        "vxlan0 rps_cpus": MASK,
        "vxlan0 rps_flow_cnt": "4096",
    }
