"""Each stock setting does what it says, on the device that counts, and is put back."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from conftest import MakeLab
from pyroute2 import IPRoute

from bench.lab_plan import Lab
from steering import netns, stock
from steering.errors import BadInput
from steering.spec import Spec
from steering.undo import Changes

pytestmark = pytest.mark.root

CALLS, SEGMENTS = 20, 32
SENT = CALLS * SEGMENTS
_UDP_SEGMENT = 103
two_cores = pytest.mark.skipif(os.cpu_count() == 1, reason="host cannot: it has one core")


@pytest.fixture
def lab(make_lab: MakeLab) -> Lab:
    return make_lab("flannel", queues=2)


@contextmanager
def applied(lab: Lab, steering: str = "none", *coalescing: str) -> Iterator[None]:
    with Changes() as changes:
        stock.steer(lab.target, Spec.parse(steering), changes)
        stock.coalesce(lab.target, [Spec.parse(each) for each in coalescing], changes)
        yield


@contextmanager
def on_core(core: int) -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def send_bursts(lab: Lab) -> None:
    """Bursts of UDP through the tunnel from core 0; the container's socket gets every packet."""
    end = lab.endpoints[0]
    with ExitStack() as stack:
        with netns.entered(end.netns):
            sink = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        with netns.entered(lab.wire_ns):
            talker = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sink.bind((end.ip, 0))
        sink.settimeout(2)
        talker.bind((end.peer_ip, 0))
        talker.setsockopt(socket.IPPROTO_UDP, _UDP_SEGMENT, 100)
        with on_core(0):
            for _ in range(CALLS):
                talker.sendto(bytes(100 * SEGMENTS), sink.getsockname())
                # One burst at a time: a veth's ring holds 256, and a thread may be slow to come.
                for _ in range(SEGMENTS):
                    sink.recv(200)


def backlog() -> list[tuple[int, int]]:
    """For each core: packets that entered the stack there; times another core handed it some."""
    rows = [line.split() for line in Path("/proc/net/softnet_stat").read_text().splitlines()]
    return [(int(row[0], 16), int(row[9], 16)) for row in rows]


def received(ns: str, device: str) -> int:
    """How many packets a device has handed up: one that GRO made counts once."""
    with netns.entered(ns), IPRoute() as route:
        link = route.get_links(route.link_lookup(ifname=device)[0])[0]
        return int(link.get_attr("IFLA_STATS64")["rx_packets"])


@two_cores
@pytest.mark.parametrize(
    ("steering", "times"), [("none", 0), ("rps", 3), ("rps-vxlan", 2), ("rps-veth", 1)]
)
def test_rps_moves_the_stages_behind_its_device(lab: Lab, steering: str, times: int) -> None:
    # A packet enters the stack three times: from the NIC, from the tunnel, from the veth.
    spec = steering if steering == "none" else f"{steering}:mask=2"
    with applied(lab, spec):
        before = backlog()
        send_bursts(lab)
        entered, handed = (now - then for now, then in zip(backlog()[1], before[1], strict=True))
    slack = SENT // 4  # what else happens on this machine meanwhile
    assert abs(entered - times * SENT) < slack
    if times:
        assert handed > 0


@two_cores
def test_the_mask_of_the_host_end_does_nothing(lab: Lab) -> None:
    end = lab.endpoints[0]
    with Changes() as changes:
        for queue in (0, 1):
            path = f"class/net/{end.host_device}/queues/rx-{queue}/rps_cpus"
            changes.sysfs(end.host_netns, path, "2")
        before = backlog()
        send_bursts(lab)
        assert backlog()[1][0] - before[1][0] < SENT // 4


@pytest.mark.parametrize(
    ("coalescing", "stage", "gathers"),
    [
        ("gro", "vxlan0", False),
        ("gro-off", "vxlan0", False),
        ("gro-list", "vxlan0", True),
        ("udp-forward", "vxlan0", True),
        ("gro-list:nic=0,tunnel=1", "vxlan0", False),
        ("gro-list:nic=0,tunnel=1", "eth0", True),
        ("udp-forward:nic=0,tunnel=1", "eth0", True),
    ],
)
def test_gro_gathers_where_it_is_turned_on(
    lab: Lab, coalescing: str, stage: str, gathers: bool
) -> None:
    ns = lab.host_ns if stage == "vxlan0" else lab.endpoints[0].netns
    with applied(lab, "none", coalescing):
        before = received(ns, stage)
        send_bursts(lab)
        packets = received(ns, stage) - before
    assert packets < SENT // 4 if gathers else packets >= SENT


def test_threads_of_napi(lab: Lab) -> None:
    def polls() -> set[str]:
        names = (path.read_text() for path in Path("/proc").glob("[0-9]*/comm") if path.exists())
        return {name.strip() for name in names if name.startswith("napi/")}

    before = polls()
    with applied(lab, "none", "gro", "threaded"):
        send_bursts(lab)
        # Never the tunnel's: see steering/coalescing/napi.py.
        assert {name.split("-")[0] for name in polls() - before} == {"napi/nic0", "napi/eth0"}
    send_bursts(lab)


def test_what_is_in_effect_is_told(lab: Lab) -> None:
    before = stock.effective(lab.target)
    assert before["nic0"]["rx-gro"] is True
    assert before["nic0"]["channels"] == [2, 2]
    assert "channels" not in before["vxlan0"]
    parts = [
        *["rfs:mask=1,entries=1000", "gro-list", "defer:us=50,polls=3", "netfilter"],
        *["budget:packets=200,us=16000", "weight:packets=32"],
    ]
    with applied(lab, *parts):
        now = stock.effective(lab.target)
        assert now["nic0"]["rps_cpus"] == "1"
        assert now["nic0"]["rps_flow_cnt"] == "512"
        assert now["nic0"]["rx-gro-list"] is True
        assert now["nic0"]["gro_flush_timeout"] == "50000"
        assert now["nic0"]["napi_defer_hard_irqs"] == "3"
        assert now[""] == {
            "rps_sock_flow_entries": "1024",
            "bridge-nf-call-iptables": "1",
            "bridge-nf-call-ip6tables": "1",
            "netdev_budget": "200",
            "netdev_budget_usecs": "16000",
            "dev_weight": "32",
        }
        send_bursts(lab)
    assert stock.effective(lab.target) == before


@pytest.mark.parametrize("case", ["native", "linux", "docker"])
@pytest.mark.parametrize("steering", ["none", "rss", "rps:mask=1", "rps-vxlan:mask=1", "rfs"])
def test_every_case_takes_what_it_has_devices_for(
    make_lab: MakeLab, case: str, steering: str
) -> None:
    lab = make_lab(case, queues=2)
    before = stock.effective(lab.target)
    if case == "native" and steering.startswith("rps-vxlan"):
        with pytest.raises(BadInput, match="no tunnel"), applied(lab, steering):
            pass
    else:
        with applied(lab, steering, "gro", "threaded"):
            if steering != "none":
                assert stock.effective(lab.target) != before
    assert stock.effective(lab.target) == before


def test_many_containers_are_one_row(make_lab: MakeLab) -> None:
    lab = make_lab("docker", containers=3)
    with applied(lab, "rps-veth:mask=1"):
        rows = stock.effective(lab.target)
    assert rows["tlab-docker-c0 eth0 and 2 like it"]["rps_cpus"] == "1"


def test_netfilter_needs_a_bridge(make_lab: MakeLab) -> None:
    with (
        pytest.raises(BadInput, match="no bridge"),
        applied(make_lab("linux"), "none", "netfilter"),
    ):
        pass
