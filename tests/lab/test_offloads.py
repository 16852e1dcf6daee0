"""What a NIC, or the far end of a veth in its place, hides from XDP: it does not while a policy is attached.

Frames come from the kernel of the other host here, and not from the wire, which leaves nothing undone.
"""

import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest
from attaching import attached, macs
from commands import ROOT, here, overspray
from pyroute2 import IPRoute

from bench.lab import Lab
from bench.live import Live
from steering import bpf, discover, netns, offloads
from steering.attached import put_right
from steering.bpf import Kind, Link, Program
from steering.choice import Choice
from steering.chosen import choose
from steering.inventory import Device, Inventory
from steering.settings import Feature
from steering.undo import Changes

PORT, LIMIT_S, TAGGED = 5001, 30, 20
PUSH_VLAN = b"".join(
    struct.pack("=BBhi", code, register, 0, value)
    for code, register, value in (
        *((0xB7, 2, socket.htons(0x8100)), (0xB7, 3, 100)),  # of the 802.1Q protocol, VLAN 100
        *((0x85, 0, 18), (0xB7, 0, 0), (0x95, 0, 0)),  # bpf_skb_vlan_push(skb, …); return TCX_PASS
    )
)
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


def features(lab: Lab) -> dict[str, str]:
    """What the far end leaves undone."""
    with netns.entered(lab.wire_ns):
        return {name: Feature(lab.plan.wire, name).read() for name in offloads.UNDONE}


ON, OFF = (dict.fromkeys(offloads.UNDONE, value) for value in ("on", "off"))


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
    """H02 (xdp-project/xdp-tutorial#160): an XDP redirect forgets that a checksum is undone."""
    with other_host(overlay):
        assert features(overlay) == ON
        with attached(overlay) as running:
            told = running.await_line(lambda line: line.startswith("off at "))
            assert told.startswith(
                f"off at wire0 of {overlay.wire_ns}, the far end of nic0, meanwhile: tx-ch"
            )
            running.await_serving(*macs(overlay))
            assert features(overlay) == OFF
            assert sent(overlay) == DATA
            counted = running.counted()
        assert counted["delivered"] > 0 and counted["drops"] == {}
        assert all(done > 0 for done in counted["done"].values())
        assert features(overlay) == ON
        assert sent(overlay) == DATA


def tagged(lab: Lab) -> list[bytes]:
    """What a container has of datagrams in VLAN 100, sent between others that are in none, sorted."""
    [first, *_], names = lab.plan.containers, lab.names
    with ExitStack() as stack:
        push = stack.enter_context(Program(PUSH_VLAN, Kind.TC))
        with netns.entered(names["c0"]):
            reader = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
            reader.bind((first.ip, PORT))
            reader.settimeout(LIMIT_S)
        with netns.entered(lab.wire_ns):
            writer = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
            for turn in range(2):
                with Link(push.fd, netns.index(lab.plan.wire), bpf.ATTACH_TCX_EGRESS):
                    for _ in range(TAGGED):
                        writer.sendto(b"tagged", (first.ip, PORT))
                writer.sendto(b"%d" % turn, (first.ip, PORT))
        got: list[bytes] = []
        while not {b"0", b"1"} <= set(got):
            got.append(reader.recv(16))
    return sorted(got)


def test_what_is_of_a_vlan_is_nobodys(overlay: Lab) -> None:
    """H12 (xdp-project/xdp-cpumap-tc#7): its tag is beside the frame, where XDP does not look."""
    with other_host(overlay):
        assert tagged(overlay) == [b"0", b"1"]
        with attached(overlay) as running:
            running.await_serving(*macs(overlay))
            assert tagged(overlay) == [b"0", b"1"]
            counted = running.counted()
        assert (counted["delivered"], counted["steer"]["pass_vlan"]) == (2, 2 * TAGGED)


def test_where_all_is_done_already_nothing_is_said(flannel: Lab) -> None:
    with netns.entered(flannel.wire_ns):
        for name in offloads.UNDONE:
            Feature(flannel.plan.wire, name).write("off")
    with attached(flannel) as running:
        running.await_serving(*macs(flannel))
        running.end()
        assert "off at" not in "".join(running.said)
    assert features(flannel) == OFF, "it was so before"


def test_generic_xdp_keeps_the_marks(flannel: Lab) -> None:
    with other_host(flannel), attached(flannel, "--generic") as running:
        running.await_serving(*macs(flannel))
        assert features(flannel) == ON
        assert sent(flannel) == DATA
        assert tagged(flannel) == [b"0", b"1"]
        assert running.counted()["delivered"] > 0


def test_what_is_compared_has_equal_offloads(flannel: Lab) -> None:
    """H03 (xdp-project/xdp-tutorial#292)."""
    with netns.entered(flannel.host_ns), Live(flannel.plan.nic, [Choice.parse("none")]) as live:
        live.put(Choice.parse("none"))
        assert features(flannel) == OFF
    assert features(flannel) == ON


def test_nobody_attaches_beside_a_comparison_which_would_put_the_offloads_back(flannel: Lab) -> None:
    with netns.entered(flannel.host_ns), Live(flannel.plan.nic, []):
        done = overspray("attach", flannel.plan.nic)
        assert done.returncode == 1 and f"process {os.getpid()} is attached to it" in done.stderr
        done = here("status")
        assert done.returncode == 1 and "takes no orders: it has just ended, or is" in done.stderr
        done = here("status", flannel.plan.nic)
        assert done.returncode == 1 and "takes no orders" in done.stderr
        assert features(flannel) == OFF


KILLED = """
import os
from bench.live import Live
Live("nic0", [])
os.kill(os.getpid(), 9)
"""


def test_what_a_killed_comparison_left_is_put_right_before_the_next_one(flannel: Lab) -> None:
    with netns.entered(flannel.host_ns):
        assert subprocess.run([sys.executable, "-c", KILLED], cwd=ROOT, check=False).returncode == -9
        assert features(flannel) == OFF
        with Live(flannel.plan.nic, []):
            put_right()  # as any other command
            assert features(flannel) == OFF
        assert features(flannel) == ON


@pytest.fixture
def found(flannel: Lab) -> tuple[Inventory, Device]:
    """What is there, and the lab's NIC."""
    with netns.entered(flannel.host_ns):
        inventory = discover.discover()
        return inventory, choose(inventory, flannel.plan.nic)


def test_a_far_end_out_of_reach_is_said(flannel: Lab, found: tuple[Inventory, Device]) -> None:
    inventory, nic = found
    reached = {at: each for at, each in inventory.views.items() if each.space.name != flannel.wire_ns}
    with Changes() as changes:
        [told] = offloads.put_off(changes, replace(inventory, views=reached), nic)
        assert features(flannel) == ON
    assert told.startswith("the far end of nic0 is out of reach: type 'ethtool -K DEVICE tx off txvlan off'")


def test_a_nic_strips_no_tags_meanwhile(flannel: Lab, found: tuple[Inventory, Device]) -> None:
    """One of hardware, as far as this kernel has such: its features are those of the lab's NIC."""
    inventory, nic = found

    def stripping() -> list[str]:
        with netns.entered(flannel.host_ns):
            return [Feature(nic.name, name).read() for name in offloads.STRIPPING]

    with Changes() as changes:
        [told] = offloads.put_off(changes, inventory, replace(nic, kind=""))
        assert stripping() == ["off", "off"]
        assert told.startswith(f"off at {nic}, meanwhile: rx-vlan-hw-parse, rx-vlan-stag-hw-parse: ")
    assert stripping() == ["on", "on"]


def test_what_can_not_be_switched_off_is_said(flannel: Lab, found: tuple[Inventory, Device]) -> None:
    inventory, nic = found
    with Changes() as changes:
        told = offloads.put_off(changes, inventory, replace(nic, kind="", name="gone0"))
    assert len(told) == len(offloads.STRIPPING)
    assert all("gone0" in line for line in told)
