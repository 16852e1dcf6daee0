"""Which core got which packets, every packet accounted for, and nothing lost when policies change."""

import os
import threading
from dataclasses import replace

import pytest
from ground import NIC_CORE, WORKER_CORE, accounted, attached, planned
from pyroute2 import IPRoute

from bench import lab as labs
from bench.frame import build
from bench.lab import Lab
from bench.seen import passing
from bench.sink import Sink
from bench.traffic import Traffic
from bench.wire import Wire
from steering import netns, workers
from steering.datapath import Datapath, Units
from steering.errors import BadInput, OversprayError
from steering.layout import header
from steering.target import Place, Tunnel
from steering.waiting import wait_for

MOST = header("maps.h").constants["MAX_PATHS"]

pytestmark = pytest.mark.needs("cpumap programs", "tc links")

N = 2560  # of each of two flows an even number of cells of 64
LOCAL, REMOTE = {NIC_CORE: N}, {WORKER_CORE: N}
HALF = {NIC_CORE: N // 2, WORKER_CORE: N // 2}
WHERE = {
    "local": LOCAL,
    "pin": REMOTE,
    "roundrobin": HALF,
    "roundrobin:local=0": REMOTE,
    "flowcell:cell=64,local=50": HALF,
    "flowcell:cell=1,local=100": LOCAL,
    "backlog:cell=64,limit=0": LOCAL,  # never room for a cell
    "backlog:cell=1,limit=8192": REMOTE,  # room always
    "twochoice:cell=1,limit=8192": REMOTE,
    "stage": REMOTE,
    "stage:cell=1,limit=0": REMOTE,  # its second choice is the first: there is one
    "flowlet:gap=1000000": REMOTE,
    "elephant:heavy=1,limit=8192": REMOTE,
    "safe:limit=8192": REMOTE,
    "adaptive:light=1": LOCAL,  # 64 packets in less than that are none
}
DELIVERIES = pytest.mark.parametrize("deliver", ["peer", "veth"])


@DELIVERIES
def test_every_packet_on_the_expected_core(overlay: Lab, units: Units, deliver: str) -> None:
    with Sink(overlay) as sink, Wire(overlay, Traffic(flows=2), NIC_CORE) as wire:
        for policy, cores in WHERE.items():
            sink.begin(1)
            with attached(overlay, policy, units, deliver=deliver) as datapath:
                wire.send_windowed(N, lambda: sink.delivered)
                totals, handed_over = datapath.totals(), datapath.peer()["segments"]
            assert sink.by_core() == cores, policy
            near, far = cores.get(NIC_CORE, 0), cores.get(WORKER_CORE, 0)
            counted = {name: n for name, n in totals.steer.items() if n}
            assert counted == {n: v for n, v in {"seen": N, "local": near, "remote": far}.items() if v}, (
                policy
            )
            assert totals.sent == totals.done == {WORKER_CORE: far}
            assert totals.local.get(NIC_CORE, 0) == sum(totals.local.values()) == near
            assert (totals.drops, totals.passed, totals.delivered) == ({}, 0, N)
            assert handed_over == (N if deliver == "peer" else 0)
        assert (sink.counts()["foreign"], wire.counts()["drop_ring"]) == (0, 0)


@DELIVERIES
def test_at_full_rate_every_packet_is_accounted_for(flannel: Lab, units: Units, deliver: str) -> None:
    """A queue of 128 overflows; each loss has a name, and the sum comes out exactly."""
    count = 100_000
    with Sink(flannel) as sink, Wire(flannel, Traffic(), NIC_CORE) as wire:
        for policy in ("local", "pin", "roundrobin", "flowcell", "backlog:cell=16,limit=96"):
            sink.begin(1)
            before = wire.counts()
            with attached(flannel, policy, units, deliver=deliver) as datapath:
                wire.send(count)
                wait_for(
                    lambda: sum(accounted(sink, datapath, wire, before)) == count,  # noqa: B023
                    lambda: f"{count}: {sink.counts()} {datapath.totals()} {wire.counts()}",
                )
                totals, ring = datapath.totals(), accounted(sink, datapath, wire, before)[1]
            assert wire.counts()["drop_refused"] == 0
            assert totals.steer["seen"] == count - ring == totals.steer["local"] + totals.steer["remote"]
            assert totals.sent[WORKER_CORE] == totals.done[WORKER_CORE] + totals.lost[WORKER_CORE]
            if policy.startswith("backlog") and deliver == "peer":
                assert totals.drops == {}, "its limit keeps the queue from overflowing"


def test_a_workers_thread_steps_back_as_the_plan_says(flannel: Lab, units: Units) -> None:
    """Units are shared: the next plan has its own nice, not that of the last."""
    with attached(flannel, "pin", units) as datapath:
        [thread] = workers.threads(datapath.unit.cpumap).values()
        for nice in (10, 19, 0):
            datapath.swap(planned("pin", nice=str(nice)))
            assert os.getpriority(os.PRIO_PROCESS, thread) == nice
        datapath.swap(planned("pin", nice="5"))
    with attached(flannel, "pin", units) as datapath:
        assert [*workers.threads(datapath.unit.cpumap)] == [WORKER_CORE]
        assert os.getpriority(os.PRIO_PROCESS, thread) == 0


@pytest.mark.parametrize("swaps", [20, pytest.param(200, marks=pytest.mark.long)])
def test_swaps_under_traffic_lose_nothing(flannel: Lab, units: Units, swaps: int) -> None:
    plans = [planned(text) for text in ("local", "pin", "roundrobin", "flowcell", "backlog:limit=64")]
    with Sink(flannel) as sink, Wire(flannel, Traffic(), NIC_CORE) as wire:
        with Datapath(flannel.target, plans[0], units) as datapath:
            done, failure = threading.Event(), []

            def traffic() -> None:
                try:
                    while not done.is_set():
                        wire.send_windowed(640, lambda: sink.delivered)
                except BaseException as error:
                    failure.append(error)

            thread = threading.Thread(target=traffic, daemon=True)
            thread.start()
            try:
                for turn in range(1, swaps + 1):
                    before = wire.sent
                    datapath.swap(plans[turn % len(plans)])
                    # Traffic between any two, or a slow thread would make this test say nothing.
                    wait_for(lambda: wire.sent > before or failure, "traffic")  # noqa: B023
            finally:
                done.set()
                thread.join()
            assert not failure
            totals = datapath.totals()
        assert sink.delivered == wire.sent == totals.steer["seen"] == totals.delivered > 0
        assert (totals.drops, totals.passed) == ({}, 0)


def test_detaching_delivers_what_was_taken(overlay: Lab, units: Units) -> None:
    with Sink(overlay) as sink, Wire(overlay, Traffic(), NIC_CORE) as wire:
        for turn in range(1, 6):
            with attached(overlay, "pin", units) as datapath:
                wire.send(64)
                wait_for(lambda: datapath.totals().steer["seen"] == 64, "the NIC")
                # The worker may still have them when the block ends.
            wait_for(lambda: sink.delivered == 64 * turn, lambda: f"{64 * turn}: {sink.counts()}")  # noqa: B023


def test_after_detaching_the_stock_stack_delivers(overlay: Lab, units: Units) -> None:
    with Sink(overlay) as sink, Wire(overlay, Traffic(flows=2), NIC_CORE) as wire:
        with attached(overlay, "pin", units):
            wire.send_windowed(100, lambda: sink.delivered)
        with passing(overlay) as nic:
            wire.send_windowed(100, lambda: sink.delivered)
            assert (nic.frames, sink.delivered) == (100, 200)


def test_what_is_not_proven_takes_the_stock_path(flannel: Lab, units: Units) -> None:
    """Frames for a container whose MAC is unknown here, and of another VNI."""
    target = flannel.target
    [tunnel] = target.tunnels
    strangers: list[tuple[Tunnel, str]] = [
        (replace(tunnel, endpoints=()), "no endpoint"),
        (replace(tunnel, vni=43), "vni"),
        (replace(tunnel, port=8472), "port"),
        (replace(tunnel, remotes=("198.18.0.9",)), "remote"),
        (replace(tunnel, local="198.18.0.9"), "local"),
    ]
    with Sink(flannel) as sink, Wire(flannel, Traffic(), NIC_CORE) as wire:
        for turn, (other, what) in enumerate(strangers, 1):
            with Datapath(replace(target, tunnels=(other,)), planned("pin"), units) as datapath:
                wire.send_windowed(100, lambda: sink.delivered)
                totals = datapath.totals()
            assert (totals.steer["pass_unknown"], totals.delivered) == (100, 0), what
            assert sink.by_core() == {NIC_CORE: 100 * turn}


def test_a_tunnel_that_cannot_be_reached_is_not_served_and_others_are(flannel: Lab, units: Units) -> None:
    [tunnel] = flannel.target.tunnels
    gone = replace(tunnel, vni=43, place=Place("os-none", "vxlan0"))
    vteps = tuple(f"10.{at >> 8}.{at & 255}.1" for at in range(MOST))
    many = replace(tunnel, vni=44, remotes=vteps)
    with (
        Sink(flannel) as sink,
        Wire(flannel, Traffic(), NIC_CORE) as wire,
        attached(flannel, "local", units) as datapath,
    ):
        refused = datapath.serve((gone, tunnel, many))
        assert list(refused) == [gone, many]
        assert refused[gone].startswith("no network namespace 'os-none'")
        assert f"more than {MOST} paths" in refused[many]
        assert datapath.target.tunnels == (tunnel,)
        wire.send_windowed(100, lambda: sink.delivered)
        assert datapath.totals().delivered == 100


def test_a_helper_that_somebody_removed_is_made_again(host_as_found: None, units: Units) -> None:
    with (
        labs.lab("docker") as lab,
        Sink(lab) as sink,
        Wire(lab, Traffic(), NIC_CORE) as wire,
        attached(lab, "local", units) as datapath,
    ):
        with netns.entered(lab.host_ns), IPRoute() as ip:
            [helper] = [each for each in ip.get_links() if each.get("ifname").startswith("os-hop")]
            ip.link("del", index=helper["index"])
        assert datapath.serve(lab.target.tunnels) == {}
        wire.send_windowed(100, lambda: sink.delivered)
        assert datapath.totals().delivered == 100


def test_a_bare_frame_with_a_containers_mac_gets_nowhere(flannel: Lab, units: Units) -> None:
    """Only what we have stripped has our proof."""
    bare = build(flannel.plan, 18)
    inner = type(bare)(bare.data[bare.inner :], bare.header_bytes - bare.inner, 0, bare.sum)
    with Sink(flannel) as sink, Wire(flannel, Traffic(), NIC_CORE, inner) as wire:
        with attached(flannel, "local", units) as datapath:
            wire.send_windowed(200, lambda: datapath.totals().steer["pass_other"])
            assert datapath.peer()["segments"] == 0
        assert sink.delivered == 0


def test_a_container_that_went_away_is_a_named_loss(flannel: Lab, units: Units) -> None:
    with (
        Sink(flannel) as sink,
        Wire(flannel, Traffic(), NIC_CORE) as wire,
        attached(flannel, "local", units, deliver="veth") as datapath,
    ):
        wire.send_windowed(64, lambda: sink.delivered)
        with netns.entered(flannel.host_ns), IPRoute() as ip:
            ip.link("set", index=flannel.veth_indexes[0], state="down")
        wire.send_windowed(64, lambda: datapath.totals().deliver["drop_device"])
        assert (datapath.totals().drops, sink.delivered) == ({"deliver": {"drop_device": 64}}, 64)


def test_a_nic_with_a_program_of_somebody_elses_is_left_alone(flannel: Lab, units: Units) -> None:
    with (
        passing(flannel) as theirs,
        Sink(flannel) as sink,
        Wire(flannel, Traffic(), NIC_CORE) as wire,
    ):
        with pytest.raises(OversprayError, match="attach to 'nic0': another XDP program is attached"):
            attached(flannel, "local", units)
        wire.send_windowed(100, lambda: sink.delivered)
        assert theirs.frames == 100


def test_a_device_without_native_xdp_is_refused_and_never_served_by_another_mode(
    flannel: Lab, units: Units
) -> None:
    with netns.entered(flannel.host_ns):
        bridge = netns.index("br0")
    target = replace(flannel.target, nic=replace(flannel.target.nic, device="br0"), nic_index=bridge)
    with pytest.raises(OversprayError, match="attach to 'br0': its driver has no native XDP"):
        Datapath(target, planned("local"), units)
    with netns.entered(flannel.host_ns), IPRoute() as ip:
        xdp = ip.get_links(bridge)[0].get_attr("IFLA_XDP")
        assert xdp.get_attr("IFLA_XDP_ATTACHED") in (None, 0)


def test_without_a_tunnel_there_is_nothing_to_steer(lab: Lab, units: Units) -> None:
    with pytest.raises(BadInput, match="policy 'pin' needs a tunnel: choose case flannel or docker"):
        attached(lab, "pin", units)


def test_eighty_containers(units: Units) -> None:
    with labs.lab("docker", 80) as lab, Sink(lab) as sink:
        with Wire(lab, Traffic(flows=80), NIC_CORE) as wire, attached(lab, "roundrobin", units) as datapath:
            wire.send_windowed(1600, lambda: sink.delivered)
            assert datapath.totals().delivered == 1600
        arrivals = sink.arrivals()
        assert [int((arrivals["flow"] == flow).sum()) for flow in range(80)] == [20] * 80
