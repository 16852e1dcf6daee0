"""Two real Docker engines, joined in a Swarm with an attachable overlay network, on one machine.

    with swarm() as (here, there):
        container = here.start("c0")  # on NETWORK
        with netns.entered(container.ns): ...

Each engine is a *host*: network, mount, pid, UTS and IPC namespaces of its own, with Docker's usual folders
on tmpfs that only its mount namespace has. Its init dies with the thread that made it (PR_SET_PDEATHSIG), and
a pid namespace dies with its init: so one SIGKILL, of anyone, takes dockerd, containerd, shims, containers,
devices, rules and data. What outlives it are empty cgroups, which carry their owner's name: the next swarm
removes them.

Nothing is asked of a registry: the image holds this machine's `sleep`.
"""

import io
import os
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from commands import DYING_WITH_US
from pyroute2 import IPRoute

from steering import cores, netns, owner
from steering.errors import OversprayError
from steering.owner import Owner
from steering.waiting import wait_for

IMAGE, NETWORK, WIRE = "sleeping", "ov", "wire"
"""The NIC has the same name on both hosts."""
SLEEP = Path("/bin/sleep")
_COMMAND_S, _START_S, _GOSSIP_S = 40, 40, 45
"""A worker that asks for an attachment gives up by itself after 20 s; a lost message of gossip costs 30."""
_CGROUPS = Path("/sys/fs/cgroup")
_CGROUP = re.compile(rf"os-{owner.PATTERN}-engine-.*")
# $1: host name, $2: cgroup. Private folders first, so that nothing of the machine's own is touched.
_INIT = r"""set -e
for folder in /etc/docker /run /var/lib; do mount -t tmpfs -o mode=755 tmpfs $folder; done
hostname "$1"
ip link set lo up
exec docker-init -- dockerd --storage-driver vfs --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "/$2"
"""


class EngineEnded(OversprayError):
    """Before it could be used: this host can't run one."""


@dataclass(frozen=True)
class Container:
    """A container that runs, as it is now: a restart gives it other values."""

    name: str
    ns: str
    """As `steering.netns` enters it."""
    address: str
    mac: str


@dataclass
class Engine:
    """One engine, and the namespaces it lives in."""

    name: str
    address: str
    """On the wire: its VTEP's."""
    process: "subprocess.Popen[bytes]"
    """The parent of its init; it ends when all of the host has."""
    log: IO[bytes]
    pid: int = 0
    """Its init, as our /proc counts."""

    @property
    def ns(self) -> str:
        """As `steering.netns` enters it."""
        return f"/proc/{self.pid}/ns/net"

    def docker(self, *arguments: str, stdin: bytes = b"", seconds: float = _COMMAND_S) -> str:
        """What a docker command to this engine prints; OversprayError where it fails, or hangs."""
        socket = f"unix:///proc/{self.pid}/root/run/docker.sock"
        line = [*DYING_WITH_US, "docker", "-H", socket, *arguments]
        environment = {**os.environ, "DOCKER_CONFIG": "/nonexistent", "LC_ALL": "C"}
        try:
            done = subprocess.run(line, input=stdin, capture_output=True, timeout=seconds, env=environment)
        except subprocess.TimeoutExpired:
            raise OversprayError(self.told(f"docker {arguments[0]}: no end in {seconds} s")) from None
        if done.returncode:
            raise OversprayError(self.told(f"docker {arguments[0]}: {done.stderr.decode(errors='replace')}"))
        return done.stdout.decode()

    def start(self, name: str, network: str = NETWORK) -> Container:
        """A new container on that overlay network, in which nothing runs but `sleep`."""
        self.docker("run", "-d", "--name", name, "--network", network, IMAGE, str(SLEEP), "infinity")
        return self.container(name, network)

    def container(self, name: str, network: str = NETWORK) -> Container:
        """One that runs."""
        of = f".NetworkSettings.Networks.{network}"
        form = f"{{{{.NetworkSettings.SandboxKey}}}} {{{{{of}.IPAddress}}}} {{{{{of}.MacAddress}}}}"
        sandbox, address, mac = self.docker("inspect", "-f", form, name).split()
        path = sandbox.replace("/var/run/", "/run/")
        return Container(name, f"/proc/{self.pid}/root{path}", address, mac)

    def await_init(self) -> None:
        """Until its namespaces are there."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")

        def forked() -> list[str]:
            self.require_alive()
            return children.read_text().split()

        [init] = wait_for(forked, f"{self.name}'s namespaces", _START_S)
        self.pid = int(init)

    def await_ready(self) -> None:
        """Until the engine answers."""

        def listens() -> bool:
            self.require_alive()
            return Path(f"/proc/{self.pid}/root/run/docker.sock").exists()

        wait_for(listens, lambda: self.told("the engine to listen"), _START_S)
        self.docker("version")  # accepted at once, answered when it is ready

    def require_alive(self) -> None:
        """EngineEnded says why it is not."""
        if self.process.poll() is not None:
            raise EngineEnded(self.told(f"ended with {self.process.returncode}"))

    def kill(self) -> None:
        """End every process of the host at once, and wait until all are gone."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, 9) if self.pid else self.process.kill()
        self.process.wait(_START_S)

    def told(self, what: str) -> str:
        """That, with the end of its log: what failed once must not be lost."""
        # The position is the engine's as well: it is left alone.
        last = os.pread(self.log.fileno(), 1 << 20, 0).decode(errors="replace").splitlines()[-10:]
        return "\n    ".join([f"{self.name}: {what.strip()}; its log ends:", *last])


@contextmanager
def swarm() -> Iterator[tuple[Engine, Engine]]:
    """The Swarm's manager and its worker, with the overlay network NETWORK, until the end of the block.

    EngineEnded where no engine runs here. Enter it in a thread that lives as long as the hosts shall.
    """
    stem = f"os-{Owner.me()}-engine"
    with ExitStack() as stack:
        remove_leftovers()
        stack.callback(_remove, stem)
        engines = [
            stack.enter_context(_engine(name, f"192.168.7.{number}", f"{stem}-{name}"))
            for number, name in enumerate(("manager", "worker"), start=1)
        ]
        here, there = engines
        _join(here, there)
        for engine in engines:
            engine.await_ready()
            engine.docker("import", "-", IMAGE, stdin=image())
        here.docker("swarm", "init", "--advertise-addr", here.address)
        token = here.docker("swarm", "join-token", "-q", "worker").strip()
        there.docker(
            *("swarm", "join", "--advertise-addr", there.address, "--token", token, f"{here.address}:2377")
        )
        listed = ("node", "ls", "--format", "{{.Status}}")
        wait_for(
            lambda: here.docker(*listed).split() == ["Ready", "Ready"], "both nodes to be ready", _START_S
        )
        add_network(here, NETWORK, "10.11.0.0/24")
        yield here, there


def add_network(manager: Engine, name: str, subnet: str) -> int:
    """Make another attachable overlay network; its VNI."""
    manager.docker("network", "create", "-d", "overlay", "--attachable", "--subnet", subnet, name)
    option = '{{index .Options "com.docker.network.driver.overlay.vxlanid_list"}}'
    return int(manager.docker("network", "inspect", "-f", option, name))


def remove_leftovers() -> list[str]:
    """Remove the cgroups of dead owners; their names."""
    gone = []
    for folder in cgroups():
        if (whose := _CGROUP.fullmatch(folder.name)) and Owner.of(whose).is_dead:
            _remove(folder.name)
            gone.append(folder.name)
    return gone


def image() -> bytes:
    """A file system for `docker import`: `sleep` with what it is linked to."""
    linked = subprocess.run(["ldd", SLEEP], capture_output=True, text=True, check=True, timeout=20).stdout
    files = [str(SLEEP), *re.findall(r"(/\S+) \(0x", linked)]
    with io.BytesIO() as buffer:
        with tarfile.open(fileobj=buffer, mode="w", dereference=True) as tar:
            for each in files:
                tar.add(each)
        return buffer.getvalue()


@contextmanager
def _engine(name: str, address: str, cgroup: str) -> Iterator[Engine]:
    """A host: its namespaces are there on entry, its engine soon after; on exit all of it ends."""
    kinds = ("--net", "--mount", "--pid", "--uts", "--ipc")
    line = ["unshare", *kinds, "--fork", "--kill-child", "--mount-proc", "sh", "-c", _INIT, "init"]
    # No name, so nothing is left of it; and no pipe, which a shim could hold open for ever.
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [*DYING_WITH_US, *line, name, cgroup],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        engine = Engine(name, address, process, log)
        try:
            engine.await_init()
            yield engine
        finally:
            engine.kill()


def _join(here: Engine, there: Engine) -> None:
    """The wire: a veth, both ends of which are born in their namespaces."""
    queues = dict.fromkeys(("num_rx_queues", "num_tx_queues"), len(cores.online()))
    shape = {"kind": "veth", "ifname": WIRE, **queues}
    with netns.entered(here.ns), IPRoute() as ip, Path(there.ns).open() as far:
        ip.link("add", **shape, peer={**shape, "net_ns_fd": far.fileno()})
    for engine in (here, there):
        with netns.entered(engine.ns), IPRoute() as ip:
            ip.addr("add", index=netns.index(WIRE), address=engine.address, prefixlen=24)
            ip.link("set", index=netns.index(WIRE), state="up")


def cgroups() -> Sequence[Path]:
    """Of all swarms, whoever made them; in version 1 there is one for each controller."""
    return [*_CGROUPS.glob("os-*-engine-*"), *_CGROUPS.glob("*/os-*-engine-*")]  # version 2, version 1


def _remove(stem: str) -> None:
    """Cgroups whose names begin so. A process that is still ending keeps its own for a moment."""
    for folder in cgroups():
        if folder.name.startswith(stem):
            wait_for(lambda folder=folder: _is_removed(folder), f"cgroup {folder} to be empty")


def _is_removed(folder: Path) -> bool:
    for path, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):
            Path(path).rmdir()
    return not folder.exists()
