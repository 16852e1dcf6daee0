"""H02 (xdp-project/xdp-tutorial#160): through a veth in place of a NIC ping works, and TCP never connects.

A veth leaves checksums undone, and XDP redirects lose that mark: so they are done at the far end meanwhile.
"""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from attaching import attached, macs
from pyroute2 import IPRoute

from bench.lab import Lab
from bench.live import Live
from steering import discover, far_end, netns
from steering.choice import Choice
from steering.chosen import choose
from steering.settings import Feature
from steering.undo import Changes

PORT, LIMIT_S = 5001, 30
DATA = os.urandom(1 << 20)


@contextmanager
def other_host(lab: Lab) -> Iterator[None]:
    """A tunnel for the wire's namespace: it is the other host then, and its kernel sends."""
    plan, [first, *_] = lab.plan, lab.plan.containers
    shape = {"vxlan_id": plan.vni, "vxlan_port": plan.port, "vxlan_learning": False, "address": plan.peer_mac}
    with netns.entered(lab.wire_ns), IPRoute() as ip:
        ip.link("add", ifname="vxlan0", kind="vxlan", vxlan_local=plan.wire_ip, mtu=plan.inner_mtu, **shape)
        [index] = ip.link_lookup(ifname="vxlan0")
        ip.fdb("add", ifindex=index, lladdr=first.mac, dst=plan.nic_ip)
        ip.addr("add", index=index, address=plan.peer_ip, prefixlen=plan.inner_prefix)
        ip.neigh("replace", ifindex=index, dst=first.ip, lladdr=first.mac, state="permanent")
        ip.link("set", index=index, state="up")
        yield


def offload(lab: Lab) -> str:
    with netns.entered(lab.wire_ns):
        return Feature(lab.plan.wire, far_end.CHECKSUMS).read()


def sent(lab: Lab) -> bytes:
    """What a container has of DATA, over TCP from the other host."""
    address = (lab.plan.containers[0].ip, PORT)
    with netns.entered(lab.names["c0"]):
        listener = socket.create_server(address)
    with listener:
        listener.settimeout(LIMIT_S)

        def send() -> None:
            with netns.entered(lab.wire_ns), socket.create_connection(address, LIMIT_S) as one:
                one.sendall(DATA)

        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        connection, _ = listener.accept()
        got = bytearray()
        with connection:
            connection.settimeout(LIMIT_S)
            while chunk := connection.recv(1 << 16):
                got += chunk
        sender.join(LIMIT_S)
    return bytes(got)


def test_tcp_connects_and_the_far_end_is_as_it_was(overlay: Lab) -> None:
    with other_host(overlay):
        assert offload(overlay) == "on"
        assert sent(overlay) == DATA
        with attached(overlay) as running:
            told = running.await_line(lambda line: "tx-checksumming of" in line)
            assert told.startswith(
                f"tx-checksumming of wire0 of {overlay.wire_ns}, the far end of nic0, is off"
            )
            running.await_serving(*macs(overlay))
            assert offload(overlay) == "off"
            assert sent(overlay) == DATA
            counted = running.counted()
        assert counted["delivered"] > 0 and counted["drops"] == {}
        assert all(done > 0 for done in counted["done"].values())
        assert offload(overlay) == "on"
        assert sent(overlay) == DATA


def test_where_it_is_done_already_nothing_is_said(flannel: Lab) -> None:
    with netns.entered(flannel.wire_ns):
        Feature(flannel.plan.wire, far_end.CHECKSUMS).write("off")
    with attached(flannel) as running:
        running.await_serving(*macs(flannel))
        running.end()
        assert "tx-checksumming" not in "".join(running.said)
    assert offload(flannel) == "off", "it was so before"


def test_generic_xdp_keeps_the_mark(flannel: Lab) -> None:
    with other_host(flannel), attached(flannel, "--generic") as running:
        running.await_serving(*macs(flannel))
        assert offload(flannel) == "on"
        assert sent(flannel) == DATA
        assert running.counted()["delivered"] > 0


def test_what_is_compared_has_equal_offloads(flannel: Lab) -> None:
    """H03 (xdp-project/xdp-tutorial#292)."""
    with netns.entered(flannel.host_ns), Live(flannel.plan.nic, [Choice.parse("none")]) as live:
        live.put(Choice.parse("none"))
        assert offload(flannel) == "off"
    assert offload(flannel) == "on"


@pytest.mark.parametrize("reach", [True, False])
def test_the_far_end_is_found_where_it_is(flannel: Lab, reach: bool) -> None:
    with netns.entered(flannel.host_ns):
        found = discover.discover()
        nic = choose(found, flannel.plan.nic)
    if not reach:
        [inode] = [at for at, view in found.views.items() if view.space.name == flannel.wire_ns]
        found = found.__class__(found.own, {at: view for at, view in found.views.items() if at != inode}, ())
    with Changes() as changes:
        told = far_end.with_checksums(changes, found, nic)
        assert offload(flannel) == ("off" if reach else "on")
    assert offload(flannel) == "on"
    assert ("is off meanwhile" if reach else "out of reach: if TCP does not connect") in told
