"""Settings are put back: by the block's end, by the guardian, by the next command."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import TEST_LAB, MakeLab
from pyroute2 import IPRoute

from bench.lab_plan import Lab
from steering import ethtool, journal, netns
from steering.errors import BadInput, OversprayError
from steering.settings import Sysfs
from steering.undo import Changes, recover

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("host_as_found")]

FORWARD = "net/ipv4/ip_forward"
MASK = "class/net/nic0/queues/rx-0/rps_cpus"


@pytest.fixture
def lab(make_lab: MakeLab) -> Lab:
    return make_lab("native", queues=2)


def sysctl(ns: str, key: str = FORWARD) -> str:
    with netns.entered(ns):
        return Path("/proc/sys", key).read_text().strip()


def sysfs(ns: str, path: str) -> str:
    return str(netns.in_namespace(ns, Sysfs(path).read))


def state(lab: Lab) -> tuple[object, ...]:
    with netns.entered(lab.host_ns), IPRoute() as route:
        link = route.get_links(route.link_lookup(ifname="nic0")[0])[0]
        gro_size = link.get_attr("IFLA_GRO_MAX_SIZE")
        features = ethtool.features("nic0", ["rx-gro-list", "tx-tcp-segmentation"])
        channels = ethtool.channels("nic0")
    return sysctl(lab.host_ns), sysfs(lab.host_ns, MASK), gro_size, features, channels


def change(changes: Changes, lab: Lab) -> None:
    changes.sysctl(lab.host_ns, FORWARD, 1 - int(sysctl(lab.host_ns)))
    changes.sysfs(lab.host_ns, MASK, "2")
    changes.link(lab.host_ns, "nic0", gro_max_size=16384)
    changes.feature(lab.host_ns, "nic0", "rx-gro-list", True)
    changes.feature(lab.host_ns, "nic0", "tx-tcp-segmentation", False)
    changes.channels(lab.host_ns, "nic0", 1, 2)


def test_every_kind_of_setting_is_set_and_put_back(lab: Lab) -> None:
    before = state(lab)
    with Changes() as changes:
        change(changes, lab)
        _, mask, gro_size, features, channels = state(lab)
        assert (mask, gro_size, channels) == ("2", 16384, (1, 2))
        assert features == {"rx-gro-list": True, "tx-tcp-segmentation": False}
    assert state(lab) == before


def test_an_error_puts_back_too(lab: Lab) -> None:
    before = state(lab)
    with pytest.raises(ZeroDivisionError), Changes() as changes:
        change(changes, lab)
        raise ZeroDivisionError
    assert state(lab) == before


def test_what_is_equal_already_is_not_journalled(lab: Lab) -> None:
    with Changes() as changes:
        changes.sysctl(lab.host_ns, FORWARD, sysctl(lab.host_ns))
        changes.sysfs(lab.host_ns, MASK, "0,00000000")
        assert changes.undo().restored == 0


def test_changed_twice_comes_back_to_the_first(lab: Lab) -> None:
    with Changes() as changes:
        for mask in ("1", "2", "3"):
            changes.sysfs(lab.host_ns, MASK, mask)
        assert sysfs(lab.host_ns, MASK) == "3"
    assert sysfs(lab.host_ns, MASK) == "0"


def test_what_does_not_stick_is_an_error_and_put_back(lab: Lab) -> None:
    # The kernel rounds the size of a flow table up to a power of two.
    path = "class/net/nic0/queues/rx-0/rps_flow_cnt"
    with Changes() as changes:
        with pytest.raises(OversprayError, match="asked for 100, but it is 128"):
            changes.sysfs(lab.host_ns, path, 100)
        assert sysfs(lab.host_ns, path) == "0"


def test_unknown_names_change_nothing(lab: Lab) -> None:
    with Changes() as changes:
        for attempt in (
            lambda: changes.feature(lab.host_ns, "nic0", "rx-nonsense", True),
            lambda: changes.feature(lab.host_ns, "nope0", "rx-gro", True),
            lambda: changes.sysctl(lab.host_ns, "net/nope", 1),
            lambda: changes.link(lab.host_ns, "nope0", mtu=1000),
        ):
            with pytest.raises(BadInput):
                attempt()
        with pytest.raises(OversprayError):
            changes.channels(lab.host_ns, "nic0", 99, 1)
        assert changes.undo().restored == 0


def test_somebody_elses_change_is_left_alone(lab: Lab) -> None:
    changes = Changes()
    changes.sysfs(lab.host_ns, MASK, "1")
    netns.in_namespace(lab.host_ns, Sysfs(MASK).write, "3")
    outcome = changes.undo()
    assert len(outcome.foreign) == 1
    assert sysfs(lab.host_ns, MASK) == "3"


def test_gone_devices_and_namespaces_are_skipped(make_lab: MakeLab, namespace: str) -> None:
    lab = make_lab("native")
    changes = Changes()
    changes.sysctl(namespace, FORWARD, 1 - int(sysctl(namespace)))
    changes.feature(lab.host_ns, "nic0", "rx-gro", False)
    changes.sysctl(lab.host_ns, FORWARD, 1 - int(sysctl(lab.host_ns)))
    with netns.entered(lab.host_ns), IPRoute() as route:
        route.link("del", index=route.link_lookup(ifname="nic0")[0])
    netns.remove(namespace)
    netns.create(namespace)  # the same name is not the same namespace
    outcome = changes.undo()
    assert (outcome.restored, len(outcome.gone), outcome.failed) == (1, 2, [])


def test_a_made_device_is_removed(namespace: str) -> None:
    with Changes() as changes:
        changes.made(namespace, "helper0")
        with netns.entered(namespace), IPRoute() as route:
            route.link("add", ifname="helper0", kind="veth", peer={"ifname": "helper1"})
        with pytest.raises(OversprayError, match="exists already"):
            changes.made(namespace, "helper1")
    with netns.entered(namespace), IPRoute() as route:
        assert not route.link_lookup(ifname="helper1")


CONTROLLER = f"""
import sys, time
from steering.undo import Changes
changes = Changes()
changes.sysctl("{TEST_LAB}-empty", "{FORWARD}", sys.argv[1])
changes.sysctl("{TEST_LAB}-empty", "net/ipv4/ip_default_ttl", 77)
print("changed", flush=True)
time.sleep(60)
"""


@pytest.fixture
def controller(namespace: str) -> "subprocess.Popen[str]":
    """A process that has changed two settings of the namespace and waits to be killed."""
    other = str(1 - int(sysctl(namespace)))
    process = subprocess.Popen(
        [sys.executable, "-c", CONTROLLER, other],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "changed\n"
    assert sysctl(namespace) == other
    assert sysctl(namespace, "net/ipv4/ip_default_ttl") == "77"
    return process


def guardians(pid: int) -> list[int]:
    """The process ids of the guardians of a controller's journals."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"steering.guardian" in words and any(f"-{pid}-".encode() in word for word in words):
            found.append(int(path.parent.name))
    return found


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_guardian_puts_back_what_a_killed_group_left(
    namespace: str, controller: "subprocess.Popen[str]"
) -> None:
    os.killpg(controller.pid, signal.SIGKILL)
    # Not reaped yet: a zombie is dead all the same.
    wait_until(lambda: sysctl(namespace, "net/ipv4/ip_default_ttl") == "64")
    wait_until(lambda: not guardians(controller.pid))
    assert not list(journal.JOURNALS.glob(f"*-{controller.pid}-*"))
    controller.communicate()


def test_the_next_command_puts_back_what_the_guardian_could_not(
    namespace: str, controller: "subprocess.Popen[str]"
) -> None:
    assert recover() == [] or controller.poll() is None
    assert sysctl(namespace, "net/ipv4/ip_default_ttl") == "77", "the owner is alive"
    [guardian] = guardians(controller.pid)
    os.kill(guardian, signal.SIGKILL)
    controller.kill()
    controller.communicate()
    assert sysctl(namespace, "net/ipv4/ip_default_ttl") == "77"
    assert sum(outcome.restored for outcome in recover()) == 2
    assert sysctl(namespace, "net/ipv4/ip_default_ttl") == "64"


def test_a_clean_end_leaves_no_guardian(namespace: str) -> None:
    with Changes() as changes:
        changes.sysctl(namespace, "net/ipv4/ip_default_ttl", 77)
        wait_until(lambda: len(guardians(os.getpid())) == 1)
    assert not guardians(os.getpid())
    assert sysctl(namespace, "net/ipv4/ip_default_ttl") == "64"


def test_a_journal_cut_short_is_replayed_up_to_there(namespace: str) -> None:
    changes = Changes()
    changes.sysctl(namespace, "net/ipv4/ip_default_ttl", 77)
    [path] = journal.JOURNALS.glob(f"*-{os.getpid()}-*")
    with path.open("a") as file:
        file.write('{"place": {"path"')
    assert changes.undo().restored == 1
    assert sysctl(namespace, "net/ipv4/ip_default_ttl") == "64"
