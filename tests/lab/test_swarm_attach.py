"""Attaching to the real thing: every packet of a Swarm's containers takes the fast path."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from attached import plan, until
from swarm import Container, Swarm

from bench.statistics import compare
from steering import control, netns
from steering.datapath import Datapath
from steering.overlay import discovered
from steering.undo import Changes
from steering.unit import Programs

pytestmark = [pytest.mark.root, pytest.mark.slow]
MAIN = "from bench.cli import main; main()"
DELIVERIES = ("peer", "veth")


def overspray(*words: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", MAIN, *words], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if "--json" in words else done.stdout


@contextmanager
def controlled(swarm: Swarm, deliver: str) -> Iterator[control.Address]:
    """The command, in the background."""
    words = ("--policy", "roundrobin", "--cpus", "1", "--deliver", deliver, "--detached", "--json")
    overspray("attach", swarm.here.nic, "--netns", swarm.here.ns, *words)
    try:
        yield control.Address.of(swarm.here.ns, swarm.here.nic)
    finally:
        overspray("detach", swarm.here.nic)


def status(address: control.Address) -> dict[str, Any]:
    facts: dict[str, Any] = control.ask(address, {"do": "status"}, None)
    return facts


def steered(address: control.Address) -> int:
    counters = status(address)["counters"]["steer"]
    return int(counters["local"]["count"] + counters["remote"]["count"])


def datagrams(sender: Container, receiver: Container, count: int = 500) -> int:
    """Send so many, a few at a time; how many arrive."""
    import socket

    with netns.entered(receiver.netns):
        to = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with netns.entered(sender.netns):
        of = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with to, of:
        to.bind((receiver.ip, 0))
        to.settimeout(2)
        of.sendto(b"first", to.getsockname())  # its ARP request takes the stock path
        assert to.recv(10) == b"first"
        seen = set()
        for number in range(count):
            of.sendto(b"%d" % number, to.getsockname())
            seen.add(int(to.recv(10)))
        return len(seen)


@pytest.mark.parametrize("deliver", DELIVERIES)
def test_all_traffic_takes_the_fast_path(
    swarm: Swarm, here: Container, there: Container, deliver: str
) -> None:
    with controlled(swarm, deliver) as address:
        assert here.mac in {end["mac"] for end in status(address)["endpoints"]}
        assert datagrams(there, here, 1) == 1
        before = steered(address)
        assert datagrams(there, here) == 500
        assert steered(address) - before == 501

        later = swarm.here.run(f"later-{deliver}")
        until(lambda: later.mac in {end["mac"] for end in status(address)["endpoints"]})
        assert datagrams(there, later, 1) == 1
        before = steered(address)
        assert datagrams(there, later) == 500
        assert steered(address) - before == 501
        later.remove()
        until(lambda: later.mac not in {end["mac"] for end in status(address)["endpoints"]})

        with later_listener(here) as listener:
            there.run("sh", "-c", f"until echo hello | nc {here.ip} 7001; do sleep 0.1; done")
            assert listener.communicate(timeout=5)[0] == "hello\n"
        assert sum(status(address)["dropped"].values()) == 0
    assert datagrams(there, here) == 500  # as before


def later_listener(container: Container) -> "subprocess.Popen[str]":
    return container.start("nc", "-l", "-p", "7001")


@contextmanager
def attached(swarm: Swarm, deliver: str, programs: Programs) -> Iterator[Datapath]:
    core = max(os.sched_getaffinity(0))
    wanted = plan(f"backlog:cell=64,deliver={deliver}", core)
    with (
        discovered(swarm.here.ns, swarm.here.nic) as overlay,
        Changes() as changes,
        Datapath(overlay, wanted, changes, programs) as datapath,
    ):
        yield datapath


def iperf3(sender: Container, receiver: Container, seconds: int = 1) -> float:
    """Datagrams a second that a real application gets from another."""
    with receiver.start("iperf3", "--server", "--one-off", "--json", ours=True) as server:
        words = ["iperf3", "--client", receiver.ip, "--udp", "--bitrate", "0", "--length", "200"]
        time.sleep(0.2)
        found = json.loads(sender.run(*words, "--time", str(seconds), "--json", ours=True))
        server.wait(10)
    total = found["end"]["sum"]
    return float((total["packets"] - total["lost_packets"]) / total["seconds"])


@pytest.mark.parametrize("deliver", DELIVERIES)
def test_a_short_comparison_with_stock(
    swarm: Swarm, here: Container, there: Container, deliver: str
) -> None:
    stock, ours = [], []
    with Programs() as programs:
        for _ in range(6):
            stock.append(iperf3(there, here))
            with attached(swarm, deliver, programs) as datapath:
                ours.append(iperf3(there, here))
                steer = datapath.totals().steer
                assert steer["local"] + steer["remote"] > ours[-1] * 0.3
    found = compare(stock, ours, margin=0.03)
    print(f"\nSwarm, {deliver}: backlog against stock, iperf3 UDP: {found}")
    assert min(stock + ours) > 0
    assert found.verdict != "invalid"
    assert found.ratio.low > 0.1  # not broken; how fast is for the bench to say
