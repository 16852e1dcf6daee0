"""What tests with namespaces share: a lab of their own, and a host that is left as it was.

What keeps these tests from flaking: frames go out in windows, so that N of N holds however late a busy core
is; every wait is for a condition with a deadline; no test asserts a rate or a time, or sleeps.
"""

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from ground import planned
from pyroute2 import IPRoute

from bench import lab as labs
from bench.exclusive import holder
from bench.lab import Lab
from steering import netns, policy
from steering.datapath import Units
from steering.settings import Setting, Sysctl

_DEVICES = ("wire0", "nic0", "vxlan0", "br0")


def host_state() -> dict[str, object]:
    """What a lab could have changed. Others may add and remove devices meanwhile, so not all there is."""
    with IPRoute() as ip:
        links = {link.get("ifname"): link.get_attr("IFLA_XDP") for link in ip.get_links()}
        modes = {name: xdp.get_attr("IFLA_XDP_ATTACHED") for name, xdp in links.items() if xdp}
    net = Path("/proc/sys/net")
    settings = [net / f"ipv4/conf/{which}/rp_filter" for which in ("all", "default")]
    settings += [net / f"ipv6/conf/{which}/disable_ipv6" for which in ("all", "default")]
    return {
        "namespaces": [name for name in netns.names() if name.startswith(f"os-{os.getpid()}-")],
        "namespace": Path("/proc/thread-self/ns/net").readlink(),
        "devices of ours": [name for name in links if name in _DEVICES or name.startswith("os-hop")],
        "attached": {name: mode for name, mode in modes.items() if mode},
        "settings": {str(path): path.read_text() for path in settings if path.exists()},
        "affinity": os.sched_getaffinity(0),
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        "lock": f"process {os.getpid()} (" in holder(),
    }


@pytest.fixture(autouse=True)
def host_as_found() -> Iterator[None]:
    """Fails the test that leaves namespaces, programs, settings, descriptors or the lock behind."""
    before = host_state()
    yield
    assert host_state() == before


@pytest.fixture
def lab(host_as_found: None) -> Iterator[Lab]:
    """A fresh lab for each test: it is up in some milliseconds, so nothing need be shared."""
    with labs.lab("native") as up:
        yield up


@pytest.fixture
def flannel(host_as_found: None) -> Iterator[Lab]:
    with labs.lab("flannel") as up:
        yield up


@pytest.fixture(params=["flannel", "docker"])
def overlay(host_as_found: None, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Both kinds of overlay: the bridge in the host's namespace, and in one of its own."""
    with labs.lab(request.param, 2) as up:
        yield up


@pytest.fixture
def sockets_known() -> Iterator[Setting]:
    """The size of RFS' table, which is the whole machine's: other test runs wait until the test ends."""
    with Path("/run/overspray/rfs.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield Sysctl("net/core/rps_sock_flow_entries")


@pytest.fixture(scope="session")
def units() -> Iterator[Units]:
    """Compiled policies, shared: compiling is what takes longest. All at once, or the test that comes first
    would seem to leave descriptors behind."""
    with Units() as made:
        for name in policy.names():
            made.of(planned(name))
        yield made
