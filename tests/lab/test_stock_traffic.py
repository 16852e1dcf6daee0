"""Stock settings under traffic: which core gets the packets, what is merged, who polls; and all put back."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from devices import OFF, queues, state
from ground import NIC_CORE, WORKER_CORE
from pyroute2 import IPRoute

from bench.frame import FIRST_PORT, SINK_PORT
from bench.lab import Lab
from bench.seen import passing
from bench.sink import Sink
from bench.traffic import Traffic
from bench.wire import Wire, on_core
from steering import napi, netns, stock
from steering.settings import Setting
from steering.spec import Spec
from steering.target import Place
from steering.undo import Changes
from steering.waiting import wait_for

MASK, FIRST = f"{1 << WORKER_CORE:x}", f"{1 << NIC_CORE:x}"
BOTH = f"{1 << NIC_CORE | 1 << WORKER_CORE:x}"
N = 1024


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


SO_INCOMING_CPU = 49
"""The core on which a connected socket's last packet came, socket(7)."""


@pytest.mark.needs("RFS")
def test_with_rfs_packets_follow_their_reader(overlay: Lab, tmp_path: Path, sockets_known: Setting) -> None:
    """From each core to the other, which a hash alone never does; the machine's table is as it was, after."""
    found, plan = sockets_known.read(), overlay.plan
    ns, address = overlay.sinks[0]
    with netns.entered(ns):
        reader = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with reader, passing(overlay), Wire(overlay, Traffic(), NIC_CORE) as wire:
        reader.settimeout(20)
        reader.bind((address, SINK_PORT))
        reader.connect((plan.peer_ip, FIRST_PORT))  # of others the kernel remembers no reader

        def came_to(core: int) -> bool:
            wire.send(1)
            with on_core(core):
                reader.recv(2048)
            return reader.getsockopt(socket.SOL_SOCKET, SO_INCOMING_CPU) == core

        for name, device in (("rfs", "nic0"), ("rfs-vxlan", "vxlan0"), ("rfs-veth", "eth0")):
            with applied(overlay, f"{name}:mask={BOTH}", tmp_path) as shown:
                assert sockets_known.read() == shown["rps_sock_flow_entries"] == "32768" != found
                tables = {f"{device} rps_cpus": BOTH, f"{device} rps_flow_cnt": "4096"}
                assert {entry: shown[entry] for entry in OFF} == {**OFF, **tables}
                for core in (NIC_CORE, WORKER_CORE, NIC_CORE):
                    wait_for(partial(came_to, core), f"packets to follow their reader to core {core}")
            assert sockets_known.read() == found
