"""``overspray attach`` on a real Docker overlay: two engines in a Swarm, and traffic of their containers."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Set
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import pytest
from commands import DYING_WITH_US, ROOT, command, overspray
from flows import flow, sending
from swarm import NETWORK, WIRE, Container, Engine, EngineEnded, add_network, cgroups, remove_leftovers, swarm

from steering import chosen, cores, discover, netns
from steering.owner import start_of
from steering.waiting import wait_for

pytestmark = [pytest.mark.needs("Docker", "cpumap programs", "tc links"), pytest.mark.timeout(180)]

N = 2048
VNI = 4097
"""Docker counts from 4096, which is the ingress network's."""
WORKER = str(cores.usable()[-1])
POLICY = f"roundrobin:mask={1 << int(WORKER):x}"
NAMED = {"pass_other", "pass_flags", "pass_inner"}
"""What may take the stock path: the engines' own talk over TCP and UDP; in the tunnel, ARP and broadcasts."""
VICTIM = """
from swarm import swarm
with swarm() as (here, there):
    here.start("c0")
    print(here.pid, there.pid, flush=True)
    input()
"""
Engines = tuple[Engine, Engine]


@pytest.fixture(scope="module")
def engines() -> Iterator[Engines]:
    try:
        with swarm() as both:
            yield both
    except EngineEnded as error:
        pytest.skip(f"host cannot: run a Docker engine: {error}")


class Attached:
    """``overspray attach`` in a process, in an engine's network namespace."""

    def __init__(self, engine: Engine, log: IO[bytes], *which: str) -> None:
        line = command("attach", WIRE, *which, "--policy", POLICY, "--json")
        self._log = log
        with netns.entered(engine.ns):
            self.process = subprocess.Popen(
                line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True
            )

    def said(self) -> list[str]:
        """Its lines up to now."""
        return os.pread(self._log.fileno(), 1 << 20, 0).decode().splitlines()

    def await_serving(self, *served: Container, gone: Container | None = None, vni: int = VNI) -> None:
        """Until the last that it says is that it serves these, as they are now, and that one no more."""
        wanted = [f"{each.mac} ({Path(each.ns).name})" for each in served]

        def serves() -> bool:
            assert self.process.poll() is None, self.said()
            lines = [line for line in self.said() if line.startswith(f"serving VNI {vni} ")]
            last = lines[-1] if lines else ""
            return all(each in last for each in wanted) and not (gone and Path(gone.ns).name in last)

        wait_for(serves, lambda: f"{wanted} to be served: {self.said()}", 60)

    def end(self, number: int = signal.SIGINT) -> str:
        """What it printed."""
        self.process.send_signal(number)
        out, _ = self.process.communicate(timeout=60)
        assert self.process.returncode in (0, -signal.SIGKILL), self.said()
        return out

    def counted(self, named: Set[str] = NAMED) -> dict[str, Any]:
        """End it: what it has counted, in which nothing was lost, and nothing passed but what is named."""
        found: dict[str, Any] = json.loads(self.end())
        assert found["drops"] == {}
        passed = {
            name for name, count in found["steer"].items() if name.startswith(("pass_", "ref")) and count
        }
        assert passed <= named, found["steer"]
        assert found["steer"]["seen"] == found["delivered"] + found["passed"]
        return found


@contextmanager
def attached(engine: Engine, *which: str) -> Iterator[Attached]:
    """``which``: of the overlays; else the first, and no other."""
    with tempfile.TemporaryFile() as log:
        running = Attached(engine, log, *(which or ("--vni", str(VNI))))
        try:
            yield running
        finally:
            if running.process.poll() is None:
                running.end(signal.SIGKILL)
            if running.process.stdout:
                running.process.stdout.close()


@contextmanager
def containers(*places: tuple[Engine, str], network: str = NETWORK) -> Iterator[list[Container]]:
    """Containers of these names on the overlay network, until the end of the block."""
    with ExitStack() as stack:
        started = []
        for engine, name in places:
            started.append(engine.start(name, network))
            stack.callback(engine.docker, "rm", "-f", name)
        yield started


def state(engine: Engine, *more: str) -> dict[str, Any]:
    """The host, as anyone sees it: what is discovered, and in each namespace links, qdiscs and sysctls.

    Without what the engines go on to do: gossip of who is behind which VTEP, visits to namespaces.
    """
    with netns.entered(engine.ns):
        found = discover.discover()
        overlays = chosen.through(found, chosen.choose(found, WIRE))
    transient = ("forwards", "remotes", "pid")
    told = json.loads(
        json.dumps({each.vni: asdict(each) for each in overlays}),
        object_hook=lambda one: {name: value for name, value in one.items() if name not in transient},
    )
    spaces = (engine.ns, *more, *{each.device.namespace.path for each in overlays})
    return told | {f"{ns} {name}": value for ns in spaces for name, value in _inside(ns)}


def _inside(ns: str) -> Iterator[tuple[str, object]]:
    with netns.entered(ns):
        for line in ("ip -j link", "tc -j qdisc"):
            done = subprocess.run(line.split(), capture_output=True, check=True, timeout=20)
            for each in json.loads(done.stdout):
                name = each.get("ifname") or f"{each['dev']} {each.get('root') or each['parent']}"
                yield from ((f"{line} {name} {key}", value) for key, value in each.items())
        for path in Path("/proc/sys/net").rglob("*"):
            with suppress(OSError):  # a folder, or one that can only be written
                if path.name != "nf_conntrack_count":
                    yield str(path), path.read_bytes()


def differing(before: dict[str, Any], after: dict[str, Any]) -> dict[str, list[object]]:
    names = sorted({**before, **after})
    return {
        name: [before.get(name), after.get(name)] for name in names if before.get(name) != after.get(name)
    }


def test_all_traffic_takes_the_fast_path(engines: Engines) -> None:
    here, there = engines
    with containers((here, "c0"), (there, "s0")) as (c0, s0), flow(s0, c0) as way:
        before, way.arrived = state(here, c0.ns), 0
        with attached(here) as running:
            running.await_serving(c0)
            way.send(N)
            way.stream()
            counted = running.counted()
        assert way.arrived == N
        assert counted["delivered"] == N + way.segments
        assert counted["done"][WORKER] > N // 2, "every second one went to the worker"
        assert differing(before, state(here, c0.ns)) == {}


def test_containers_are_followed(engines: Engines) -> None:
    """One starts, one restarts, one stops: each is served from when it is said, as it is then."""
    here, there = engines
    with containers((here, "c0"), (there, "s0")) as (c0, s0), ExitStack() as flows, attached(here) as running:
        running.await_serving(c0)
        ways = [flows.enter_context(flow(s0, c0))]
        ways[0].send(N)
        with containers((here, "c1")) as (c1,):
            running.await_serving(c0, c1)
            ways.append(flows.enter_context(flow(s0, c1)))
            ways[1].send(N)
            here.docker("restart", "-t", "0", "c0")
            again = here.container("c0")
            assert again.ns != c0.ns
            running.await_serving(again, c1, gone=c0)
            ways.append(flows.enter_context(flow(s0, again)))
            ways[2].send(N)
        running.await_serving(again, gone=c1)
        ways[2].send(N)
        counted = running.counted()
    assert sum(way.arrived for way in ways) >= 4 * N
    assert counted["delivered"] == sum(way.arrived for way in ways)


def test_a_second_overlay_is_served_or_goes_on_by_the_stock_path(engines: Engines) -> None:
    """On the same UDP port."""
    here, there = engines
    other = add_network(here, "ov2", "10.12.0.0/24")
    with containers((here, "c0"), (there, "s0")) as (c0, s0), flow(s0, c0) as way, attached(here) as running:
        running.await_serving(c0)
        with containers((here, "c2"), (there, "s2"), network="ov2") as (c2, s2), flow(s2, c2) as second:
            way.arrived = 0
            second.send(N)
            way.send(N)
            assert other != VNI
            counted = running.counted({*NAMED, "pass_unknown"})
            assert (way.arrived, counted["delivered"]) == (N, N)
            assert counted["steer"]["pass_unknown"] == second.arrived
            with attached(here, "--bypass") as both:
                both.await_serving(c0)
                both.await_serving(c2, vni=other)
                way.arrived = second.arrived = 0
                second.send(N)
                way.send(N)
                assert both.counted()["delivered"] == way.arrived + second.arrived == 2 * N


def test_killed_it_leaves_the_stock_path_and_the_next_one_just_works(engines: Engines) -> None:
    here, there = engines
    with containers((here, "c0"), (there, "s0")) as (c0, s0), flow(s0, c0) as way:
        before = state(here, c0.ns)
        with attached(here) as running:
            running.await_serving(c0)
            way.send(N)
            way.stream(meanwhile=lambda: running.end(signal.SIGKILL))
            way.send(N)
        way.arrived = way.segments = 0
        with attached(here) as running:
            running.await_serving(c0)
            way.send(N)
            way.stream()
            assert running.counted()["delivered"] == way.arrived + way.segments
        assert differing(before, state(here, c0.ns)) == {}


def test_stock_and_ours_are_compared_under_the_traffic_that_is_there(engines: Engines) -> None:
    """Six times attached or detached, and not a datagram lost. No figure of it means anything."""
    here, there = engines
    with containers((here, "c0"), (there, "s0")) as (c0, s0), flow(s0, c0) as way:
        before = state(here, c0.ns)
        with sending(way), netns.entered(here.ns):
            done = overspray(
                *("ab", "none", "backlog", "--on", WIRE, "--vni", str(VNI)),
                *("--rounds", "2", "--seconds", "0.2", "--json"),
            )
        assert done.returncode == 0, done.stderr
        assert differing(before, state(here, c0.ns)) == {}
    found = json.loads(done.stdout)
    assert found["reasons"] == [] and len(found["rounds"]) == 2
    stock, ours = (found["variants"][side] for side in "ab")
    assert stock["fast"] == 0 and 0.5 < ours["fast"] <= 1
    assert not {"steer", "worker", "deliver"} & set(ours["drops"])
    for row in (stock, ours):
        assert row["delivered_pps"] > 0
        assert [Path(c0.ns).name in name for name, rate in row["containers"].items() if rate] == [True]


@pytest.mark.usefixtures("engines")
def test_killed_its_engines_go_with_it_and_the_next_one_removes_the_rest() -> None:
    """Nobody who waits for the end of its output waits for an engine."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    line = [*DYING_WITH_US, sys.executable, "-c", VICTIM]
    with subprocess.Popen(
        line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as victim:
        assert victim.stdin is not None and victim.stdout is not None
        inits = [int(pid) for pid in victim.stdout.readline().split()]
        assert len(inits) == 2 and all(map(start_of, inits))
        victim.kill()
        assert victim.stdout.read() == ""
    wait_for(lambda: not any(map(start_of, inits)), "the engines to end")
    left = [folder.name for folder in cgroups() if f"os-{victim.pid}-" in folder.name]
    assert left
    remove_leftovers()
    assert not [folder.name for folder in cgroups() if f"os-{victim.pid}-" in folder.name]
