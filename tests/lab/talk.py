"""Real sockets on both sides of a lab, raw frames on its wire, and a datapath on its NIC."""

import os
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from pyroute2 import IPRoute

from bench.lab_plan import Endpoint, Lab
from steering import ethtool, netns
from steering.closing import Closing
from steering.datapath import Datapath
from steering.overlay import Overlay, discovered
from steering.plan import Plan, read_plan
from steering.spec import Spec
from steering.undo import Changes
from steering.unit import Programs

BURST = 32
"""Frames at a time: a veth's ring holds 256, and a thread may be slow to come."""

_INCOMING_CPU = 49
_EVERYTHING = socket.htons(3)


def plan(text: str, *cores: int) -> Plan:
    """`pin:worker=1` on these cores' workers; core 1 (or the only one) unless said otherwise."""
    return read_plan(Spec.parse(text), cores or (max(os.sched_getaffinity(0)),))


@contextmanager
def attached(lab: Lab, plan: Plan, programs: Programs | None = None) -> Iterator[Datapath]:
    """The datapath on the lab's NIC, for the length of a block."""
    with (
        overlay_of(lab) as overlay,
        Changes() as changes,
        Datapath(overlay, plan, changes, programs) as datapath,
    ):
        yield datapath


@contextmanager
def overlay_of(lab: Lab) -> Iterator[Overlay]:
    with discovered(lab.host_ns, lab.nic) as overlay:
        yield overlay


class Talk(Closing):
    """A UDP socket of the remote talker, and one of the container that it talks to."""

    def __init__(self, lab: Lab, end: Endpoint | None = None) -> None:
        self.end = end or lab.endpoints[0]
        family = socket.AF_INET6 if lab.spec.inner == 6 else socket.AF_INET
        with netns.entered(lab.wire_ns):
            self.talker = socket.socket(family, socket.SOCK_DGRAM)
        with netns.entered(self.end.netns):
            self.listener = socket.socket(family, socket.SOCK_DGRAM)
        self.talker.bind((self.end.peer_ip, 0))
        self.listener.bind((self.end.ip, 0))
        self.listener.settimeout(2)
        # A socket with one peer is told the core that its packets came on.
        self.talker.connect(self.listener.getsockname())
        self.listener.connect(self.talker.getsockname())

    def send(self, datagrams: Iterable[bytes]) -> list[bytes]:
        """Send them, a burst at a time; what arrived of each burst within two seconds."""
        arrived, todo = [], list(datagrams)
        for start in range(0, len(todo), BURST):
            burst = todo[start : start + BURST]
            for datagram in burst:
                self.talker.send(datagram)
            arrived += [self.listener.recv(1 << 16) for _ in burst]
        return arrived

    def core(self) -> int:
        """The core that the listener's last packet came on."""
        return self.listener.getsockopt(socket.SOL_SOCKET, _INCOMING_CPU)

    def silent(self, seconds: float = 0.2) -> bool:
        """Nothing arrives."""
        self.listener.settimeout(seconds)
        try:
            self.listener.recv(1 << 16)
        except TimeoutError:
            return True
        finally:
            self.listener.settimeout(2)
        return False

    def close(self) -> None:
        self.talker.close()
        self.listener.close()


def numbered(count: int, size: int = 100, first: int = 0) -> list[bytes]:
    """Datagrams of which no two are alike."""
    return [struct.pack("!I", first + number).ljust(size, b".") for number in range(count)]


class Raw(Closing):
    """An AF_PACKET socket on one device: sends whole frames, and sees what others receive."""

    def __init__(self, ns: str, device: str) -> None:
        with netns.entered(ns):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, _EVERYTHING)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
            self._socket.bind((device, 0))

    def send(self, frames: Iterable[bytes], pause: float = 0.004) -> None:
        """Send them, with a pause after every burst."""
        for number, frame in enumerate(frames, 1):
            self._socket.send(frame)
            if number % BURST == 0:
                time.sleep(pause)

    def received(self, quiet: float = 0.2) -> list[bytes]:
        """The frames that came in (not those that went out) until nothing came for some time."""
        frames = []
        self._socket.settimeout(quiet)
        while True:
            try:
                frame, address = self._socket.recvfrom(1 << 16)
            except TimeoutError:
                return frames
            if address[2] != socket.PACKET_OUTGOING:
                frames.append(frame)

    def find(self, wanted: Callable[[bytes], bool], seconds: float = 2.0) -> bytes:
        """The first frame that comes in and is wanted."""
        self._socket.settimeout(seconds)
        while True:
            frame, address = self._socket.recvfrom(1 << 16)
            if address[2] != socket.PACKET_OUTGOING and wanted(frame):
                return frame

    def close(self) -> None:
        self._socket.close()


def settings_of(lab: Lab) -> dict[str, dict[str, Any]]:
    """What attaching might change: devices, their state, queues, features, programs."""
    return {ns: _devices(ns) for ns in lab.namespaces}


def _devices(ns: str) -> dict[str, Any]:
    with netns.entered(ns), IPRoute() as route, ExitStack() as stack:
        found = {}
        for link in route.get_links():
            name, xdp = link.get_attr("IFLA_IFNAME"), link.get_attr("IFLA_XDP")
            kept = ("MTU", "MASTER", "TXQLEN", "OPERSTATE", "PROMISCUITY", "GRO_MAX_SIZE")
            found[name] = {each: link.get_attr(f"IFLA_{each}") for each in kept}
            found[name]["flags"] = link["flags"]
            found[name]["xdp"] = xdp.get_attr("IFLA_XDP_PROG_ID") if xdp else None
            if name != "lo":
                tool = stack.enter_context(ethtool._opened(name))
                found[name]["features"] = {each: bool(on) for each, on, *_ in tool.get_features()}
            if name.startswith(("eth", "nic", "wire", "veth")):
                found[name]["channels"] = ethtool.channels(name)
        return found
