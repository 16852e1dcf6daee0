"""Stock settings on a lab's devices: in effect as asked for, and put back exactly as they were found."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from commands import DYING_WITH_US, ROOT
from pyroute2 import IPRoute

from bench.lab import Lab
from steering import cores, netns, stock, sysfs
from steering.errors import OversprayError
from steering.settings import Feature, Missing, RpsMask, Setting, Sysctl
from steering.spec import Spec
from steering.target import Place, Target
from steering.undo import Changes, put_back_leftovers

ROOM = Sysctl("net/core/somaxconn")
"""A sysctl of each namespace, which nothing here depends on."""
MASK = f"{1 << cores.usable()[-1]:x}"
OFF = {"nic0 rps_cpus": "0", "vxlan0 rps_cpus": "0", "nic0 rx-gro": "off", "nic0 rx-gro-list": "off"}


def state(target: Target) -> dict[str, str]:
    """All that stock settings could change, raw: each queue by itself, each sysctl as its file has it."""
    assert target.tunnel
    found: dict[str, str] = {}
    for place in (target.nic, target.tunnel.place, *(endpoint.own for endpoint in target.endpoints)):
        with netns.entered(place.ns):
            for name in ("rx-gro", "rx-gro-list", "tx-checksum-ip-generic", "tx-tcp-segmentation"):
                found[f"{place} {name}"] = Feature(place.device, name).read()
            for path in (ROOM.path, *sorted(Path("/proc/sys/net/bridge").glob("*"))):
                found[f"{place.ns} {path}"] = path.read_text()
            with sysfs.opened() as root:
                for queue in range(queues(place)):
                    mask = f"class/net/{place.device}/queues/rx-{queue}/rps_cpus"
                    found[f"{place} {mask}"] = sysfs.read(root, mask)
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
        (nic, ROOM, "77"),
    ]
    for name in ("rx-gro", "rx-gro-list", "tx-tcp-segmentation"):
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
        assert stock.differing(target, *wanted) == [
            "rx-gro-list of nic0 is on, not off",
            f"rps_cpus of vxlan0 is {MASK}, not 0",
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
from steering.settings import Feature, RpsMask, Sysctl
from steering.undo import Changes

ns, folder, mask, gro = sys.argv[1:]
with Changes(Path(folder)) as changes:
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
    done = put_back_leftovers(tmp_path)
    assert [line.partition(" in ")[0] for line in done] == ["rx-gro of nic0", "rps_cpus of nic0", str(ROOM)]
    assert state(target) == before
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("steering", "coalescing", "expected"),
    [
        ("none", None, {}),
        (None, "gro", {"nic0 rx-gro": "on"}),
        (f"rps:mask={MASK}", None, {"nic0 rps_cpus": MASK}),
        (
            f"rps-vxlan:mask={MASK}",
            "gro-list",
            {"vxlan0 rps_cpus": MASK, "nic0 rx-gro": "on", "nic0 rx-gro-list": "on"},
        ),
    ],
)
def test_what_is_applied_is_in_effect_whatever_was_before(
    overlay: Lab, steering: str | None, coalescing: str | None, expected: dict[str, str], tmp_path: Path
) -> None:
    target = overlay.target
    assert target.tunnel
    for place in (target.nic, target.tunnel.place):
        with netns.entered(place.ns):
            RpsMask(place.device).write("1")
    with netns.entered(target.nic.ns):
        for name in ("rx-gro", "rx-gro-list"):
            Feature("nic0", name).write("on")
    before, found = state(target), stock.effective(target)
    with Changes(tmp_path) as changes:
        spec = Spec.parse(steering) if steering else None
        stock.apply(target, spec, [Spec(coalescing)] if coalescing else [], cores.usable()[0], changes)
        now = stock.effective(target)
        assert {name: now[name] for name in OFF} == {**OFF, **expected}
        assert now.keys() == found.keys() >= {"nic0 tx-checksum-ip-generic", "eth0 rx-gro"}
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
    assert all(name.startswith("nic0 ") for name in found)
    with Changes(tmp_path) as changes:
        with pytest.raises(OversprayError, match="for tunnel and bridge"):
            stock.apply(lab.target, Spec("rps-vxlan"), [Spec("gro")], 0, changes)
        assert stock.effective(lab.target) == found
        stock.apply(lab.target, Spec("rps", {"mask": MASK}), [Spec("gro")], 0, changes)
        now = stock.effective(lab.target)
        assert (now["nic0 rps_cpus"], now["nic0 rx-gro"]) == (MASK, "on")
    assert stock.effective(lab.target) == found
