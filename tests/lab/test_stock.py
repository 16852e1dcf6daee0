"""Stock settings on a lab's devices: in effect as asked for, and put back exactly as they were found."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from commands import DYING_WITH_US, ROOT
from devices import FEATURES, OFF, ROOM, queues, state
from ground import NIC_CORE, WORKER_CORE
from pyroute2 import IPRoute

from bench.lab import Lab
from steering import cores, netns, stock
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
from steering.target import Place
from steering.undo import Changes, put_back_leftovers

MASK, FIRST = f"{1 << WORKER_CORE:x}", f"{1 << NIC_CORE:x}"


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in after.items() if before[name] != value}


def opposite(place: Place, name: str) -> str:
    with netns.entered(place.ns):
        return "off" if Feature(place.device, name).read() == "on" else "on"


def test_each_kind_is_set_and_put_back(overlay: Lab, tmp_path: Path) -> None:
    target, before = overlay.target, state(overlay.target)
    nic, tunnel = target.nic, target.tunnels[0].place
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


def test_what_is_not_as_wanted_is_said(flannel: Lab, tmp_path: Path) -> None:
    target, wanted = flannel.target, (Spec.parse(f"rps:mask={MASK}"), [Spec("gro")], cores.usable()[0])
    with Changes(tmp_path) as changes:
        stock.apply(target, *wanted, changes)
        assert stock.differing(target, *wanted) == []
        with netns.entered(target.nic.ns):
            Feature("nic0", "rx-gro-list").write("on")
            RpsMask("vxlan0").write(MASK)
        assert sorted(stock.differing(target, *wanted)) == [
            f"rps_cpus of vxlan0 is {MASK}, not 0",
            "rx-gro-list of nic0 is on, not off",
        ]


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
    changes.set(netns.OWN, Sysctl("net/core/rps_sock_flow_entries"), "4096")
    changes.set(ns, Sysctl("net/core/somaxconn"), "77")
    changes.set(ns, RpsMask("nic0"), mask)
    changes.set(ns, Feature("nic0", "rx-gro"), gro)
    print("changed", flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_process_left_is_put_back(overlay: Lab, tmp_path: Path, sockets_known: Setting) -> None:
    target, before, known = overlay.target, state(overlay.target), sockets_known.read()
    ns, gro = target.nic.ns, opposite(target.nic, "rx-gro")
    run = [*DYING_WITH_US, sys.executable, "-c", VICTIM, ns, str(tmp_path), MASK, gro]
    with subprocess.Popen(run, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "changed\n"
        changed = state(target)
        assert len(differences(before, changed)) >= 3 and sockets_known.read() == "4096" != known
        assert put_back_leftovers(tmp_path) == [], "it lives"
        assert state(target) == changed
        process.kill()
    done = put_back_leftovers(tmp_path)  # the threads are gone with the program, and their cores with them
    assert [line.partition(" in ")[0].removesuffix(" of nic0") for line in done] == [
        *("rx-gro", "rps_cpus", str(ROOM), str(sockets_known)),
        *("rps_flow_cnt", "gro_flush_timeout", "threaded"),
    ]
    assert state(target) == before and sockets_known.read() == known
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
    for place in (target.nic, target.tunnels[0].place, *(endpoint.own for endpoint in target.endpoints)):
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
    with netns.entered(target.tunnels[0].place.ns):
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
        with pytest.raises(OversprayError, match="for devices that this case"):
            stock.apply(lab.target, Spec("rps-vxlan"), [Spec("gro")], 0, changes)
        assert stock.effective(lab.target) == found
        stock.apply(lab.target, Spec("rps", {"mask": MASK}), [Spec("gro")], 0, changes)
        now = stock.effective(lab.target)
        assert (now["nic0 rps_cpus"], now["nic0 rx-gro"]) == (MASK, "on")
    assert stock.effective(lab.target) == found
