"""Every packet of the wire is delivered or lost under one name, and the cores' time adds up."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest
from conftest import MakeLab

import bench.wire
from bench.bed import Bed, BedSpec
from bench.collectors import Collectors, Cost
from bench.experiment import Placement
from bench.lab_plan import Lab
from bench.observer import Observer
from bench.run import Load, run
from bench.sample import Sample
from bench.traffic import SINK_PORT, Traffic
from bench.variant import Variant
from bench.wire import Wire
from steering.netns import entered
from steering.spec import Spec

pytestmark = pytest.mark.root
two_cores = pytest.mark.skipif(os.cpu_count() == 1, reason="host cannot: it has one core")

PACKETS = 5000


@pytest.fixture(scope="module")
def observer() -> Iterator[Observer]:
    with Observer() as made:
        yield made


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    with Bed(Placement(nic=0, workers=(1,), app=1), BedSpec(name="collect")) as made:
        yield made


def send(lab: Lab, observer: Observer, traffic: Traffic, why: bool = False) -> Cost:
    """The cost of PACKETS packets, once all are accounted for."""
    cores = sorted(os.sched_getaffinity(0))
    with Wire(lab) as wire, Collectors(lab, cores, observer, why=why) as collectors:
        wire.configure(traffic, 7, limit=PACKETS)
        before = collectors.snapshot()
        wire.start()
        observer.watch(wire.threads, "wire")
        while wire.offered().sent < PACKETS:
            time.sleep(0.01)
        wire.stop()
        time.sleep(0.05)
        return collectors.difference(before, collectors.snapshot(), wire.spun())


def listening(lab: Lab) -> socket.socket:
    [end] = lab.endpoints
    with entered(end.netns):
        one = socket.socket(socket.AF_INET6 if ":" in end.ip else socket.AF_INET, socket.SOCK_DGRAM)
    one.bind((end.ip, SINK_PORT))
    return one


@pytest.mark.parametrize(("case", "inner"), [("native", 4), ("docker", 6), ("linux", 4)])
def test_nobody_listens(make_lab: MakeLab, observer: Observer, case: str, inner: int) -> None:
    lab = make_lab(case, inner=inner)
    assert send(lab, observer, Traffic()).drops == {"udp": {"no_socket": PACKETS}}


def test_the_kernel_says_why(make_lab: MakeLab, observer: Observer) -> None:
    cost = send(make_lab("flannel"), observer, Traffic(), why=True)
    assert cost.reasons["no_socket"] >= PACKETS


def test_a_full_socket(make_lab: MakeLab, observer: Observer) -> None:
    lab = make_lab("docker")
    with listening(lab) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        cost = send(lab, observer, Traffic())
        one.setblocking(False)
        waiting = 0
        while True:
            try:
                one.recv(100)
            except BlockingIOError:
                break
            waiting += 1
    assert waiting > 0
    assert cost.drops == {"udp": {"socket_full": PACKETS - waiting}}


def test_damaged_packets(
    make_lab: MakeLab, observer: Observer, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = bench.wire.frames
    monkeypatch.setattr(
        bench.wire,
        "frames",
        lambda *args: [replace(frame, sum=frame.sum + 1) for frame in right(*args)],
    )
    lab = make_lab("docker")
    with listening(lab):
        assert send(lab, observer, Traffic()).drops == {"udp": {"bad_checksum": PACKETS}}


def overloaded(bed: Bed, text: str) -> Sample:
    sample = run(bed, Variant.parse(text), Load(Traffic(), Spec.parse("count"), 0.3, 0.1))
    assert sample.offered > sample.delivered
    assert sample.unaccounted == 0, sample.drops
    return sample


@two_cores
@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("docker/rps", {("nic", "backlog_full"), ("veth", "backlog_full")}),
        ("docker/rps-vxlan", {("tunnel", "queue_full"), ("veth", "backlog_full")}),
        ("flannel/rps-vxlan", {("tunnel", "queue_full"), ("veth", "backlog_full")}),
        ("docker/none+threaded:container=0", {("nic", "ring_full")}),
    ],
)
def test_what_is_lost_in_overload_adds_up(bed: Bed, text: str, where: set[tuple[str, str]]) -> None:
    drops = overloaded(bed, text).drops
    assert {(stage, name) for stage, names in drops.items() for name in names} <= where


@two_cores
@pytest.mark.parametrize("deliver", ["peer", "veth"])
def test_what_a_workers_queue_refuses_adds_up(bed: Bed, deliver: str) -> None:
    sample = overloaded(bed, f"docker/pin:queue=64,deliver={deliver}")
    assert set(sample.drops) == {"worker"}


@two_cores
def test_the_cost_of_a_light_load(bed: Bed) -> None:
    traffic = Traffic(rate=100_000, arrivals=Spec.parse("constant:batch=32"))
    variant = Variant.parse("docker/local")
    sample = run(bed, variant, Load(traffic, Spec.parse("count"), 0.4, 0.1))
    assert sample.loss == 0
    # A burst of 32 is one softirq and one poll; some are cut in two, some polls find nothing.
    assert 16 <= sample.gathered["poll"] <= 32
    assert 1 / 32 <= sample.per_packet["softirqs"] <= 1 / 16
    assert sample.per_packet["bulks"] == 0
    for shares in sample.cores.values():
        assert 0 < sum(share for kind, share in shares.items() if kind != "steal") < 1.1
    # It waits most of the time, which is nobody's.
    assert 0 < sample.wire_share < 0.6


@two_cores
def test_the_cost_of_handing_over(bed: Bed) -> None:
    traffic = Traffic(rate=100_000)
    sample = run(bed, Variant.parse("docker/pin"), Load(traffic, Spec.parse("count"), 0.4, 0.1))
    assert sample.loss == 0
    assert sample.cores[1]["cpumap"] > 0.01
    assert 4 <= sample.gathered["bulk"] <= 8
    assert 1 / 8 <= sample.per_packet["bulks"] <= 1 / 4
    assert 0 < sample.per_packet["wakeups"] <= sample.per_packet["bulks"]
    assert sample.per_packet["ipis"] > 0


@two_cores
def test_a_reading_application_has_its_own_time(bed: Bed) -> None:
    traffic = Traffic(rate=50_000)
    load = Load(traffic, Spec.parse("read"), 0.4, 0.1)
    sample = run(bed, Variant.parse("docker/none"), load)
    assert sample.cores[1]["application"] > 0.01


def test_the_collectors_own_cost(make_lab: MakeLab, observer: Observer) -> None:
    lab = make_lab("docker")
    with ExitStack() as stack:
        collectors = stack.enter_context(Collectors(lab, [0], observer))
        wire = stack.enter_context(Wire(lab))

        def drive() -> int:
            wire.configure(Traffic(), 7, limit=PACKETS)
            wire.start()
            while wire.offered().sent < PACKETS:
                time.sleep(0.01)
            return wire.stop().sent

        assert 0 <= collectors.own_cost(drive) < 1000
