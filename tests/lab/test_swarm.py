"""Discovery on the real thing: two Docker engines in a Swarm, containers on an overlay network."""

import re
import socket
import time
from collections.abc import Callable, Iterator

import pytest
from swarm import IMAGE, Container, Engine, Swarm

from steering import netns
from steering.overlay import Endpoint, Overlay, Watch, bypassed, discovered

pytestmark = [pytest.mark.root, pytest.mark.slow]


def endpoint_of(overlay: Overlay, container: Container) -> Endpoint | None:
    return next((end for end in overlay.endpoints if end.mac == container.mac), None)


def wait_for(watch: Watch, holds: Callable[[Overlay], bool], seconds: float = 10) -> float:
    """Follow until something holds; how long that took."""
    start = time.monotonic()
    while not holds(watch.overlay):
        left = start + seconds - time.monotonic()
        assert left > 0, watch.overlay
        watch.changed(left)
    return time.monotonic() - start


def udp_socket(container: Container) -> socket.socket:
    """A socket inside a container, held by this process."""
    with netns.entered(container.netns):
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def test_ping_tcp_and_udp_cross_the_overlay(here: Container, there: Container) -> None:
    assert "2 packets received" in there.run("ping", "-c", "2", "-W", "5", here.ip)

    with udp_socket(here) as receiver, udp_socket(there) as sender:
        receiver.bind((here.ip, 7000))
        receiver.settimeout(5)
        sender.sendto(b"hello", (here.ip, 7000))
        data, (source, _) = receiver.recvfrom(100)
        assert (data, source) == (b"hello", there.ip)

    with here.start("nc", "-l", "-p", "7000") as listener:
        there.run("sh", "-c", f"until echo hello | nc {here.ip} 7000; do sleep 0.1; done")
        assert listener.communicate(timeout=5)[0] == "hello\n"


def test_discovery_sees_network_hosts_and_containers(
    swarm: Swarm, here: Container, there: Container
) -> None:
    with discovered(swarm.here.ns, swarm.here.nic) as overlay:
        (tunnel,) = (each for each in overlay.tunnels if each.vni == swarm.vni)
        assert tunnel.port == 4789
        assert tunnel.local is None
        assert tunnel.ns != overlay.nic_ns
        assert tunnel.remotes == {swarm.there.ip}
        assert (there.mac, swarm.there.ip) in tunnel.remote_macs
        assert (swarm.vni, swarm.here.ip, swarm.there.ip) in overlay.paths

        end = endpoint_of(overlay, here)
        assert end is not None
        assert (end.vni, end.device, end.ips) == (swarm.vni, "eth0", {here.ip})
        assert end.ns.inode == netns.identity(here.pid)
        assert end.host_ns == tunnel.ns
        assert endpoint_of(overlay, there) is None


def test_the_other_host_is_seen_from_the_same_machine_too(
    swarm: Swarm, here: Container, there: Container
) -> None:
    with discovered(swarm.there.ns, swarm.there.nic) as overlay:
        assert endpoint_of(overlay, there) is not None
        assert endpoint_of(overlay, here) is None


def test_watch_follows_containers(swarm: Swarm, here: Container) -> None:
    with Watch(swarm.here.ns, swarm.here.nic) as watch:
        before = watch.overlay
        later = swarm.here.run("later")
        wait_for(watch, lambda overlay: endpoint_of(overlay, later) is not None)
        # The difference of two snapshots is the update.
        assert {end.mac for end in watch.overlay.endpoints - before.endpoints} == {later.mac}
        later.remove()
        wait_for(watch, lambda overlay: overlay.endpoints == before.endpoints)
        assert watch.changed(1.5) is None


def test_watch_follows_a_container_that_restarts(swarm: Swarm, here: Container) -> None:
    with Watch(swarm.here.ns, swarm.here.nic) as watch:
        first = swarm.here.run("again", ip="10.77.200.1")
        wait_for(watch, lambda overlay: endpoint_of(overlay, first) is not None)
        before = endpoint_of(watch.overlay, first)
        second = first.restarted()
        assert (second.mac, second.ip) == (first.mac, first.ip)
        inode = netns.identity(second.pid)

        def is_the_new_one(overlay: Overlay) -> bool:
            end = endpoint_of(overlay, second)
            return end is not None and end.ns.inode == inode and end != before

        wait_for(watch, is_the_new_one)
        second.remove()


def test_watch_follows_the_other_host(swarm: Swarm, here: Container) -> None:
    with Watch(swarm.here.ns, swarm.here.nic) as watch:
        other = swarm.there.run("other")
        known = {(other.mac, swarm.there.ip)}
        wait_for(watch, lambda overlay: any(known <= t.remote_macs for t in overlay.tunnels))
        other.remove()
        wait_for(watch, lambda overlay: not any(known & t.remote_macs for t in overlay.tunnels))


def test_an_engines_own_rules_are_no_reason_to_refuse(swarm: Swarm, here: Container) -> None:
    with discovered(swarm.here.ns, swarm.here.nic) as overlay:
        assert [finding for finding in bypassed(overlay) if finding.severity == "rule"] == []


@pytest.fixture
def encrypted(swarm: Swarm) -> Iterator[str]:
    """An encrypted network with a container on each host."""
    options = ("--driver", "overlay", "--attachable", "--opt", "encrypted")
    swarm.here.docker("network", "create", *options, "secret")
    for engine in (swarm.here, swarm.there):
        where = ("--network", "secret", "--name", "spy")
        engine.docker("run", "--detach", *where, IMAGE, "sleep", "1000000")
    yield "secret"
    for engine in (swarm.here, swarm.there):
        engine.docker("rm", "--force", "spy")
    _until_gone(swarm.here, "secret")


def _until_gone(engine: Engine, network: str) -> None:
    """Remove a network; the Swarm takes a moment to see that nobody uses it any more."""
    for attempt in range(50):
        try:
            engine.docker("network", "rm", network)
            return
        except AssertionError:
            if attempt == 49:
                raise
            time.sleep(0.1)


def test_an_encrypted_network_is_a_reason_to_refuse(swarm: Swarm, encrypted: str) -> None:
    """The engine drops packets of that network that come unencrypted: the fast path would not."""
    with discovered(swarm.here.ns, swarm.here.nic) as overlay:
        rules = [finding.text for finding in bypassed(overlay) if finding.severity == "rule"]
    assert len(rules) == 1
    assert re.match(r".*tables ip filter INPUT: .*\(drop\), in 'tswarm", rules[0]), rules
