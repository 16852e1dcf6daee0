"""``overspray attach`` on a real Docker overlay: two engines in a Swarm, and traffic of their containers."""

import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Set
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from commands import DYING_WITH_US, ROOT, command, overspray
from swarm import NETWORK, WIRE, Container, Engine, EngineEnded, add_network, cgroups, remove_leftovers, swarm

from steering import chosen, cores, discover, netns
from steering.closing import Closing
from steering.owner import start_of
from steering.waiting import wait_for

pytestmark = [pytest.mark.needs("Docker", "cpumap programs", "tc links"), pytest.mark.timeout(180)]

N, WINDOW = 2048, 64
BYTES = random.Random(1).randbytes(4 << 20)
PORT = 5000
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


class Flow(Closing):
    """Datagrams from a socket in one container to one in another, and streams; a context manager."""

    def __init__(self, sender: Container, receiver: Container) -> None:
        self._sender, self._receiver = sender, receiver
        self._address = (receiver.address, PORT)
        self.arrived = 0
        """Datagrams."""
        self.segments = 0
        """Sent over TCP."""
        self._number = 0
        with ExitStack() as stack:
            self._from = stack.enter_context(_socket(sender.ns, socket.SOCK_DGRAM))
            self._to = stack.enter_context(_socket(receiver.ns, socket.SOCK_DGRAM))
            self._listening = stack.enter_context(_socket(receiver.ns, socket.SOCK_STREAM))
            self._to.bind(self._address)
            self._listening.bind(self._address)
            self._listening.listen()
            self._open = stack.pop_all()

    def await_way(self) -> None:
        """Until a datagram arrives: only then has the gossip told both hosts of both containers."""

        def arrives() -> bool:
            self._from.sendto(b"", self._address)
            with suppress(TimeoutError):
                return self._receive(0.05) is not None
            return False

        wait_for(arrives, lambda: f"{self._address} to be reached", 45)

    def send(self, count: int) -> None:
        """So many datagrams, in windows: each is received before the next window is sent."""
        while count:
            window = {self._number + at for at in range(min(WINDOW, count))}
            for number in sorted(window):
                self._from.sendto(number.to_bytes(8), self._address)
            self._number += len(window)
            count -= len(window)
            while window:
                if got := self._receive(20):  # else one that looked for the way, and was late
                    window.remove(int.from_bytes(got))

    def stream(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        """BYTES over TCP, every one checked; ``meanwhile`` is called when half of them have come."""
        before, digest, size = _segments(self._sender), hashlib.sha256(), 0
        with _socket(self._sender.ns, socket.SOCK_STREAM) as sending:
            sending.connect(self._address)
            taken, _ = self._listening.accept()
            threading.Thread(target=_send_all, args=(sending,), daemon=True).start()
            with taken:
                taken.settimeout(60)
                while part := taken.recv(1 << 16):
                    if size < len(BYTES) // 2 <= size + len(part):
                        meanwhile()
                    size += len(part)
                    digest.update(part)
            both = (self._sender, self._receiver)
            wait_for(lambda: all(map(_closed, both)), "the last acknowledgement")
        assert (size, digest.digest()) == (len(BYTES), hashlib.sha256(BYTES).digest())
        self.segments += _segments(self._sender) - before

    def close(self) -> None:
        """Close the sockets. Closing twice is harmless."""
        self._open.close()

    def _receive(self, seconds: float) -> bytes:
        self._to.settimeout(seconds)
        data = self._to.recv(64)
        self.arrived += 1
        return data


def _socket(ns: str, kind: socket.SocketKind) -> socket.socket:
    with netns.entered(ns):
        return socket.socket(socket.AF_INET, kind)


def _send_all(sending: socket.socket) -> None:
    sending.sendall(BYTES)
    sending.shutdown(socket.SHUT_WR)


def _segments(of: Container) -> int:
    """That it has sent over TCP, by the kernel's count, in which those sent again stand apart: its frames."""
    with netns.entered(of.ns):
        names, values = (line.split() for line in _read("net/snmp").splitlines() if line.startswith("Tcp:"))
    return sum(int(values[names.index(name)]) for name in ("OutSegs", "RetransSegs"))


def _closed(of: Container) -> bool:
    """Whether no connection of it waits for anything but time."""
    with netns.entered(of.ns):
        states = [line.split()[3] for line in _read("net/tcp").splitlines()[1:]]
    return set(states) <= {"06", "0A"}  # TIME_WAIT, LISTEN


def _read(name: str) -> str:
    return Path("/proc/thread-self", name).read_text()


@contextmanager
def sending(way: Flow) -> Iterator[None]:
    """Datagrams go that way, each of which is received, until the end of the block."""
    stop, errors = threading.Event(), []

    def run() -> None:
        try:
            while not stop.is_set():
                way.send(WINDOW)
        except BaseException as error:  # a thread's would be lost
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert errors == []


class Attached:
    """``overspray attach`` in a process, in an engine's network namespace."""

    def __init__(self, engine: Engine) -> None:
        line = command("attach", WIRE, "--vni", str(VNI), "--policy", POLICY, "--json")
        with netns.entered(engine.ns):
            self.process = subprocess.Popen(
                line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        self.said: list[str] = []

    def await_serving(self, *served: Container, gone: Container | None = None) -> None:
        """Until it says that it serves these, as they are now, and that one no more."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            has = [f"{each.mac} ({Path(each.ns).name})" in line for each in served]
            if line.startswith("serving ") and all(has) and not (gone and Path(gone.ns).name in line):
                return
        raise AssertionError(self.said)

    def end(self, number: int = signal.SIGINT) -> str:
        """What it printed."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=60)
        self.said += err.splitlines()
        assert self.process.returncode in (0, -signal.SIGKILL), self.said
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
def attached(engine: Engine) -> Iterator[Attached]:
    running = Attached(engine)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.end(signal.SIGKILL)
        for stream in (running.process.stdout, running.process.stderr):
            if stream:
                stream.close()


@contextmanager
def containers(*places: tuple[Engine, str], network: str = NETWORK) -> Iterator[list[Container]]:
    """Containers of these names on the overlay network, until the end of the block."""
    with ExitStack() as stack:
        started = []
        for engine, name in places:
            started.append(engine.start(name, network))
            stack.callback(engine.docker, "rm", "-f", name)
        yield started


@contextmanager
def flow(sender: Container, receiver: Container) -> Iterator[Flow]:
    """Once there is a way from the one to the other."""
    with Flow(sender, receiver) as found:
        found.await_way()
        yield found


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


def test_a_second_overlay_goes_on_by_the_stock_path(engines: Engines) -> None:
    """On the same UDP port. Once several are served: its datagrams are delivered, and none is unknown."""
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
