"""The same verdict as stock's, frame by frame: what others met on the wire (the issues that each test names).

A window of frames ends with two markers. The stock stack delivers both; the datapath steers one and passes
the other. Each way is first in, first out, on the wire's core and on the worker's: a frame that has not come
before the markers does not come.
"""

import socket
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from ground import NIC_CORE, attached
from pyroute2 import IPRoute
from scapy.layers.inet import IP, UDP, IPOption
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet

from bench.lab import Lab
from bench.lab_plan import Plan as LabPlan
from bench.seen import passing
from bench.wire import on_core
from steering import netns
from steering.datapath import Units
from steering.waiting import wait_for

pytestmark = pytest.mark.needs("cpumap programs", "tc links")

PORT = 5555
WINDOW = 16
"""Frames; a socket's buffer holds many times that."""
_SOL_PACKET, _QDISC_BYPASS = 263, 20

LAB = LabPlan("flannel")
POD = LAB.containers[0]
LINK = Ether(dst=LAB.nic_mac, src=LAB.wire_mac)
OUTER = IP(dst=LAB.nic_ip, src=LAB.wire_ip)
INSIDE = Ether(dst=POD.mac, src=LAB.peer_mac)
INNER = IP(dst=POD.ip, src=LAB.peer_ip)


def tunnel(vni: int = LAB.vni, **udp: Any) -> Packet:
    return UDP(sport=49152, dport=LAB.port, **udp) / struct.pack(">II", 0x08000000, vni << 8)


def datagram(payload: str, **udp: Any) -> Packet:
    return UDP(sport=4000, dport=PORT, **udp) / payload.encode()


PLAIN = LINK / OUTER / tunnel(chksum=0)
MARKERS = {
    "steered": bytes(PLAIN / INSIDE / INNER / datagram("steered")),
    "passed": bytes(
        LINK / IP(dst=LAB.nic_ip, src=LAB.wire_ip, options=[IPOption(b"\x01" * 4)])
        / tunnel(chksum=0) / INSIDE / INNER / datagram("passed")
    ),
}  # fmt: skip


class Line:
    """Frames onto the wire's device, and an ordinary UDP socket in the container."""

    def __init__(self, wire: socket.socket, pod: socket.socket) -> None:
        self.wire, self.pod = wire, pod
        self.sent = 0
        self.windows = 0

    def deliver(self, frames: Sequence[bytes]) -> list[str]:
        """Send them; returns the payloads of those that reach the socket, in order."""
        found: list[str] = []
        for start in range(0, len(frames), WINDOW):
            for frame in (*frames[start : start + WINDOW], *MARKERS.values()):
                self.wire.send(frame)
                self.sent += 1
            self.windows += 1
            waited = {*MARKERS}
            while waited:
                text = self.pod.recv(2048).decode()
                if text in waited:
                    waited.remove(text)
                else:
                    found.append(text)
        return found


@contextmanager
def line(lab: Lab) -> Iterator[Line]:
    with ExitStack() as stack:
        with netns.entered(lab.wire_ns):
            wire = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
            wire.bind((lab.plan.wire, 0))
        # The queue is then the core's, and not by the frame's hash: one queue, one order.
        wire.setsockopt(_SOL_PACKET, _QDISC_BYPASS, 1)
        pod = stack.enter_context(listening(*lab.sinks[0]))
        stack.enter_context(on_core(NIC_CORE))
        yield Line(wire, pod)


@contextmanager
def listening(name: str, address: str) -> Iterator[socket.socket]:
    with netns.entered(name):
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with opened:
        opened.bind((address, PORT))
        opened.settimeout(20)
        yield opened


Counts = dict[str, int]


@contextmanager
def path(lab: Lab, how: str, units: Units, counts: Counts) -> Iterator[Line]:
    """The stock stack, or the datapath with that policy. At the end ``counts`` holds what the datapath
    counted, without the markers; nothing of stock."""
    if how == "stock":
        with passing(lab) as nic, line(lab) as made:
            yield made
            assert nic.frames == made.sent
        return
    with attached(lab, how, units) as datapath, line(lab) as made:
        yield made
        # All have been seen: the markers came behind them.
        totals = datapath.totals()
        assert totals.steer["seen"] == made.sent == totals.delivered + totals.passed
        assert totals.drops == {}
        taken = "remote" if how == "pin" else "local"
        found = {**totals.steer, "steered": totals.steer[taken] - made.windows}
        found["pass_options"] -= made.windows
        counts.update({name: n for name, n in found.items() if n and name not in ("seen", taken)})


HOWS = pytest.mark.parametrize("how", ["stock", "local", "pin"])


@HOWS
def test_outer_and_inner_checksums(overlay: Lab, units: Units, how: str) -> None:
    """H04 (cilium/cilium#15485, #28707): stock drops what either sum says is broken, and needs neither."""
    # What scapy is not told it fills in, rightly.
    kinds: dict[str, dict[str, int]] = {"none": {"chksum": 0}, "right": {}, "wrong": {"chksum": 0xBAD}}
    frames = {
        f"outer {outer}, inner {inner}": bytes(
            LINK / OUTER / tunnel(**kinds[outer]) / INSIDE / INNER
            / datagram(f"outer {outer}, inner {inner}", **kinds[inner])
        )
        for outer in kinds for inner in kinds
    }  # fmt: skip
    counts: Counts = {}
    with path(overlay, how, units, counts) as made:
        found = Counter(made.deliver([frame for frame in frames.values() for _ in range(100)]))
    assert found == {name: 100 for name in frames if "wrong" not in name}
    # Without an outer sum the inner one is the container's to check.
    assert how == "stock" or counts == {"steered": 400, "pass_checksum": 500}


@HOWS
def test_a_second_overlay_on_the_same_port(flannel: Lab, units: Units, how: str) -> None:
    """H06 (projectcalico/calico#6752): VNI 42 is ours, 43 has a device of its own, 44 has none."""
    address, mac = "172.32.0.2", "02:aa:00:00:00:43"
    counts: Counts = {}
    with netns.entered(flannel.host_ns), IPRoute() as ip:
        tunnel_of = {"vxlan_id": 43, "vxlan_port": LAB.port, "vxlan_local": LAB.nic_ip}
        ip.link("add", ifname="vxlan1", kind="vxlan", address=mac, vxlan_learning=False, **tunnel_of)
        index = netns.index("vxlan1")
        ip.addr("add", index=index, address=address, prefixlen=24)
        ip.link("set", index=index, state="up")
        wait_for(lambda: ip.get_links(index)[0].get("carrier") == 1, "vxlan1 to carry packets")
    other = Ether(dst=mac, src=LAB.peer_mac) / IP(dst=address, src="172.32.0.1")
    begins = {
        vni: bytes(LINK / OUTER / tunnel(vni, chksum=0) / inside / datagram("0000", chksum=0))[:-4]
        for vni, inside in ((42, INSIDE / INNER), (43, other), (44, INSIDE / INNER))
    }
    numbers = [f"{number:04}" for number in range(1000)]
    with (
        listening(flannel.host_ns, address) as second,
        path(flannel, how, units, counts) as made,
    ):
        ours, theirs = [], []
        for start in range(0, 1000, WINDOW // 2):
            window = numbers[start : start + WINDOW // 2]
            ours += made.deliver([begins[vni] + n.encode() for n in window for vni in (42, 43)])
            theirs += [second.recv(2048).decode() for _ in window]
        assert ours == theirs == numbers
        assert made.deliver([begins[44] + n.encode() for n in numbers]) == []
        second.setblocking(False)
        with pytest.raises(BlockingIOError):
            second.recv(1)
    assert how == "stock" or counts == {"steered": 1000, "pass_unknown": 2000}


@HOWS
def test_fragments_that_arrive_tail_first(flannel: Lab, units: Units, how: str) -> None:
    """H11 (cilium/cilium#25709): all fragments go the stock way, so none meets its head on another core."""
    frames: list[bytes] = []
    cut = 704
    for number in range(500):
        whole = bytes(datagram(f"{number:04}" + "x" * 1396, chksum=0))
        ip = IP(dst=POD.ip, src=LAB.peer_ip, proto=17, id=number + 1)
        head, tail = ip.copy(), ip.copy()
        head.flags, tail.frag = "MF", cut // 8
        pair = [bytes(PLAIN / INSIDE / part) for part in (head / whole[:cut], tail / whole[cut:])]
        frames += pair[::-1] if number % 2 else pair
    counts: Counts = {}
    with path(flannel, how, units, counts) as made:
        before = reassembly_failures(flannel.sinks[0][0])
        found = made.deliver(frames)
        assert reassembly_failures(flannel.sinks[0][0]) == before
    assert [text[:4] for text in found] == [f"{number:04}" for number in range(500)]
    assert {len(text) for text in found} == {1400}
    assert how == "stock" or counts == {"pass_fragment": 1000}


def reassembly_failures(name: str) -> int:
    with netns.entered(name):
        lines = Path("/proc/thread-self/net/snmp").read_text().splitlines()
    names, values = (line.split() for line in lines if line.startswith("Ip:"))
    return int(values[names.index("ReasmFails")])


@HOWS
def test_vlan_tags_outside_and_inside(flannel: Lab, units: Units, how: str) -> None:
    """H12 (xdp-project/xdp-cpumap-tc#7, LibreQoE/LibreQoS#26): VID 0 is no VLAN, 100 is nobody's."""
    rest = tunnel(chksum=0) / INSIDE / INNER
    frames = {
        **{f"outer {vid}": LINK / Dot1Q(vlan=vid) / OUTER / rest for vid in (0, 100)},
        **{f"inner {vid}": PLAIN / INSIDE / Dot1Q(vlan=vid) / INNER for vid in (0, 100)},
    }
    sent = [bytes(frame / datagram(name)) for name, frame in frames.items() for _ in range(25)]
    counts: Counts = {}
    with path(flannel, how, units, counts) as made:
        found = Counter(made.deliver(sent))
    assert found == {"outer 0": 25, "inner 0": 25}
    assert how == "stock" or counts == {"pass_vlan": 100}


@HOWS
def test_a_frame_from_the_tunnel_device_itself_is_a_loop(flannel: Lab, units: Units, how: str) -> None:
    """The VXLAN driver drops it (vxlan_set_mac in the kernel's drivers/net/vxlan)."""
    looped = Ether(dst=flannel.plan.containers[0].mac, src=flannel.plan.tunnel_mac) / INNER
    frames = {"own": LINK / OUTER / tunnel(chksum=0) / looped, "other": PLAIN / INSIDE / INNER}
    sent = [bytes(frame / datagram(name)) for name, frame in frames.items() for _ in range(25)]
    counts: Counts = {}
    with path(flannel, how, units, counts) as made:
        assert Counter(made.deliver(sent)) == {"other": 25}
    assert how == "stock" or counts == {"steered": 25, "pass_inner": 25}
