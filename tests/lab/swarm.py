"""A real Docker Swarm on one machine: two engines, each in a network namespace of its own.

Every engine is the first process of its own process and mount namespace. So one signal ends it with
all its containers and mounts, and a killed test run takes it along; what else a killed run leaves
(named namespaces, empty cgroups) is removed by the next one.
"""

import os
import re
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from pyroute2 import IPRoute

from steering import ethtool, netns

NIC = "nic0"
NETWORK = "overlay"
IMAGE = "busybox:static"
HERE_IP, THERE_IP = "198.18.7.1", "198.18.7.2"
_PREFIX = "tswarm"
_CGROUPS = Path("/sys/fs/cgroup")
_KEYS = Path("/proc/sys/kernel/keys")
# Everything of busybox that a test may want; each is a link to the one static binary.
_APPLETS = ("sh", "sleep", "ping", "nc", "cat", "dd", "seq", "yes", "true", "kill", "ip", "wget")


def why_not() -> str | None:
    """Why no engine can run on this host, or None."""
    tools = ("dockerd", "containerd", "docker", "iptables", "unshare", "nsenter", "setpriv")
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        return f"run a Docker engine: {missing[0]} is not installed (type 'sudo make test')"
    if _busybox() is None:
        return "make a container image: no static busybox (Debian's busybox-static)"
    mounted = Path("/proc/self/mountinfo").read_text()
    if " - cgroup " not in mounted and " - cgroup2 " not in mounted:
        return "run a Docker engine: no cgroup file system is mounted"
    return None


@dataclass(frozen=True)
class Container:
    """A running container on the overlay network; ``pid`` is its first process, as seen by us.

    Python's own sockets can be opened inside: ``with netns.entered(container.netns): …``.
    """

    engine: "Engine"
    name: str
    ip: str
    mac: str
    pid: int

    @property
    def netns(self) -> str:
        """Its network namespace, for :func:`steering.netns.entered`."""
        return f"/proc/{self.pid}/ns/net"

    def start(self, *command: str, ours: bool = False) -> "subprocess.Popen[str]":
        """Start a program inside; its output is piped. The caller waits for it or kills it.

        With ``ours`` it is a program of this host (iperf3, …) that has the container's network.
        """
        entered = "--net" if ours else "--all"
        return subprocess.Popen(
            ["nsenter", entered, f"--target={self.pid}", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *command: str, send: str = "", timeout: float = 20, ours: bool = False) -> str:
        """Run a program inside to its end; its output. AssertionError when it fails."""
        with self.start(*command, ours=ours) as process:
            try:
                out, _ = process.communicate(send, timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        assert process.returncode == 0, f"{self.name}: {' '.join(command)}: {out}"
        return out

    def restarted(self) -> "Container":
        """Stop and start it: in a new namespace, with the same MAC if its address was chosen."""
        self.engine.docker("restart", "--time", "0", self.name)
        return self.engine.find(self.name)

    def remove(self) -> None:
        """Stop and remove it."""
        self.engine.docker("rm", "--force", self.name)


@dataclass(frozen=True)
class Engine:
    """A Docker engine; its NIC is ``nic`` in the namespace ``ns``, with the address ``ip``."""

    ns: str
    ip: str
    folder: Path
    nic: str = NIC

    @property
    def socket(self) -> str:
        """Where it listens."""
        return f"unix://{self.folder}/docker.sock"

    @property
    def log(self) -> Path:
        """What it wrote."""
        return self.folder / "log"

    def docker(self, *args: str, timeout: float = 60) -> str:
        """One command of the docker client, to its end; what it printed."""
        config = str(self.folder / "client")  # not the user's, which may hold logins
        done = subprocess.run(
            ["docker", "--config", config, "--host", self.socket, *args],
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == 0, f"docker {' '.join(args)}: {done.stderr.strip()}"
        return done.stdout.strip()

    def run(self, name: str, *command: str, ip: str | None = None) -> Container:
        """Start a container on the overlay network (it sleeps, if no command is given).

        Its MAC follows from its address, which the Swarm chooses if ``ip`` does not.
        """
        what = command or ("sleep", "1000000")
        where = ("--network", NETWORK, *(("--ip", ip) if ip else ()))
        self.docker("run", "--detach", "--name", name, *where, IMAGE, *what)
        return self.find(name)

    def find(self, name: str) -> Container:
        """A running container on the overlay network."""
        where = f'{{{{with index .NetworkSettings.Networks "{NETWORK}"}}}}'
        form = f"{{{{.Id}}}} {where}{{{{.IPAddress}}}} {{{{.MacAddress}}}}{{{{end}}}}"
        ident, ip, mac = self.docker("inspect", "--format", form, name).split()
        return Container(self, name, ip, mac, _first_process(ident))


@dataclass(frozen=True)
class Swarm:
    """Two engines and an attachable overlay network. ``here`` is where one attaches."""

    here: Engine
    there: Engine
    network: str = NETWORK
    vni: int = field(default=0)


@contextmanager
def swarm_up(folder: Path, progress: Callable[[str], None] = lambda what: None) -> Iterator[Swarm]:
    """The two engines, joined by a veth pair and in a Swarm with an overlay network.

    ``folder`` takes their state: a few MB, gone with the block.
    """
    _sweep()
    name = f"{_PREFIX}{os.getpid()}"
    with ExitStack() as stack:
        stack.enter_context(_kernel_keys_kept())
        stack.callback(_remove_cgroups, name)
        stack.enter_context(_two_hosts(f"{name}-here", f"{name}-there"))
        progress("engines")
        here, there = (
            stack.enter_context(_engine(Engine(f"{name}-{which}", ip, folder / which), name))
            for which, ip in (("here", HERE_IP), ("there", THERE_IP))
        )
        for engine in (here, there):
            _wait_until_up(engine)
        progress("swarm")
        _join(here, there)
        progress("image")
        image = folder / "busybox.tar"
        _make_image(image)
        for engine in (here, there):
            engine.docker("import", str(image), IMAGE)
        vni = here.docker(
            "network",
            "inspect",
            "--format",
            '{{index .Options "com.docker.network.driver.overlay.vxlanid_list"}}',
            NETWORK,
        )
        yield Swarm(here, there, vni=int(vni))


def _join(here: Engine, there: Engine) -> None:
    """Make the two a Swarm and give it a network that single containers may join."""
    here.docker("swarm", "init", "--advertise-addr", here.ip, "--listen-addr", here.ip)
    token = here.docker("swarm", "join-token", "--quiet", "worker")
    there.docker("swarm", "join", "--advertise-addr", there.ip, "--token", token, f"{here.ip}:2377")
    subnet = ("--subnet", "10.77.0.0/16")
    here.docker("network", "create", "--driver", "overlay", "--attachable", *subnet, NETWORK)


@contextmanager
def _two_hosts(here: str, there: str) -> Iterator[None]:
    """Two namespaces and a veth pair between their NICs, which send complete frames as NICs do."""
    queues = {"num_tx_queues": os.cpu_count() or 1, "num_rx_queues": os.cpu_count() or 1}
    with ExitStack() as stack:
        for ns in (here, there):
            netns.create(ns)
            stack.callback(netns.remove, ns)
        with netns.entered(here), IPRoute() as route:
            peer = {"ifname": NIC, "net_ns_fd": there, **queues}
            route.link("add", ifname=NIC, kind="veth", peer=peer, **queues)
        for ns, ip in ((here, HERE_IP), (there, THERE_IP)):
            with netns.entered(ns), IPRoute() as route:
                for device in ("lo", NIC):
                    route.link("set", index=route.link_lookup(ifname=device)[0], state="up")
                index = route.link_lookup(ifname=NIC)[0]
                route.addr("add", index=index, address=ip, prefixlen=24)
                ethtool.set_features(NIC, {"rx-gro": True, "tx-checksum-ip-generic": False})
        yield


@contextmanager
def _engine(engine: Engine, cgroup: str) -> Iterator[Engine]:
    """A running dockerd with a containerd of its own, and its end."""
    engine.folder.mkdir(parents=True)
    folder = str(engine.folder)
    command = [
        *("setpriv", "--pdeathsig", "KILL"),
        *("unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"),
        # Not `ip netns exec`: it mounts a /sys without cgroups.
        *("nsenter", f"--net={netns.RUN / engine.ns}"),
        *("dockerd", "--host", engine.socket, "--storage-driver", "vfs", "--bridge", "none"),
        *("--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec"),
        *("--pidfile", f"{folder}/pid", "--cgroup-parent", cgroup),
    ]
    with engine.log.open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield engine
        finally:
            _end(process)
    shutil.rmtree(engine.folder, ignore_errors=True)


def _end(unshare: "subprocess.Popen[bytes]") -> None:
    """End dockerd, the only child of ``unshare`` and process 1 of all it started: they all go."""
    children = Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children")
    pids = children.read_text().split() if children.exists() else []
    for pid in pids:
        os.kill(int(pid), signal.SIGKILL)  # its parent sees it end, and ends
    if not pids:
        unshare.kill()


def _wait_until_up(engine: Engine, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            engine.docker("version")
            return
        except AssertionError:
            if time.monotonic() > end:
                raise AssertionError(f"no engine: {engine.log.read_text()[-2000:]}") from None
            time.sleep(0.1)


def _busybox() -> Path | None:
    """A busybox that needs no libraries."""
    for name in ("busybox", "busybox-static"):
        path = shutil.which(name)
        # A program that needs no libraries names no interpreter (ELF's PT_INTERP).
        if path is not None and b"/ld-linux" not in Path(path).read_bytes()[:4096]:
            return Path(path)
    return None


def _make_image(path: Path) -> None:
    busybox = _busybox()
    assert busybox is not None
    with tarfile.open(path, "w") as tar:
        tar.add(busybox, "bin/busybox")
        for applet in _APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)


def _first_process(container: str) -> int:
    """The process id that we see; the engine, in its own namespace, knows another."""
    for path in _CGROUPS.glob(f"**/{container}/cgroup.procs"):
        pids = [int(line) for line in path.read_text().split()]
        if pids:
            return min(pids)
    raise AssertionError(f"no process of container {container} in any cgroup")


@contextmanager
def _kernel_keys_kept() -> Iterator[None]:
    """An engine raises these two limits of the whole host; put them back."""
    files = [_KEYS / name for name in ("root_maxkeys", "root_maxbytes") if (_KEYS / name).exists()]
    before = [file.read_text() for file in files]
    try:
        yield
    finally:
        for file, value in zip(files, before, strict=True):
            file.write_text(value)


def _remove_cgroups(name: str) -> None:
    """Remove an engine's cgroups of every hierarchy; the processes in them may take a moment."""
    for attempt in range(50):
        found = [path for level in ("", "*/") for path in _CGROUPS.glob(f"{level}{name}")]
        for top in found:
            for folder, _, _ in os.walk(top, topdown=False):
                with suppress(OSError):
                    Path(folder).rmdir()
        if not any(top.exists() for top in found):
            return
        time.sleep(0.02 * (attempt > 0))


def _sweep() -> None:
    """Remove what killed test runs left: namespaces and cgroups that carry a dead process's id."""
    cgroups = [path.name for level in ("", "*/") for path in _CGROUPS.glob(f"{level}{_PREFIX}*")]
    for name in {*netns.names(_PREFIX), *cgroups}:
        owner = re.match(rf"{_PREFIX}(\d+)", name)
        if owner is None or Path(f"/proc/{owner[1]}").exists():
            continue
        if name in cgroups:
            _remove_cgroups(name)
        else:
            netns.remove(name)
