"""One lab of a comparison: frames go in on its wire, and all that comes out anywhere is caught.

The lab is made to answer alike every time, and at once: no limits on answers, no neighbour to be
asked for, nothing that learns from the answers. Nothing in the path of a frame is changed by it.
"""

import ctypes
import os
import select
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
from pyroute2 import IPRoute

from bench import lab as labs
from bench.lab_plan import VXLAN_PORT, Lab, LabSpec
from bench.verify_bytes import ones_sum
from steering import bpf
from steering.closing import Closing
from steering.datapath import Datapath
from steering.errors import OversprayError
from steering.netns import entered
from steering.overlay import discovered
from steering.plan import Plan
from steering.undo import Changes
from steering.unit import Programs, Totals

Sight = tuple[str, bytes]
"""A place (``wire``, ``c0``, or ``c0 socket``), and what was seen there."""

OPEN_PORT = 9
"""UDP, in every container; all other ports are closed, and answer so."""
OTHER_VTEP = {4: "198.18.0.3", 6: "fd00:5:1::3"}
OTHER_MAC = "02:05:01:00:00:09"
"""A second remote host, and the talker behind it: known to the lab, and silent."""

_QUIET = 0.003
"""Seconds without anything new after which a side that has shown its last frame is done."""
_PATIENCE, _SHORT_PATIENCE = 2.0, 0.5

_AF_PACKET_LEVEL, _AUXDATA, _IGNORE_OUTGOING, _QDISC_BYPASS = 263, 8, 23, 20
_VLAN_VALID = 1 << 4
_BY_KERNEL = 2
_TC_ACT_SHOT = 2
_TUNNEL_PORT = struct.pack("!H", VXLAN_PORT)
_AUX = struct.Struct("=3I4H")
_SETTINGS = {
    "ipv4/ip_forward": 0,
    "ipv4/icmp_ratelimit": 0,
    "ipv4/icmp_msgs_per_sec": 1_000_000_000,
    "ipv4/icmp_msgs_burst": 1_000_000_000,
    "ipv4/tcp_invalid_ratelimit": 0,
    "ipv4/ipfrag_time": 3600,
    "ipv4/route/mtu_expires": 86400,
    "ipv4/ipfrag_high_thresh": 1 << 30,
    "ipv6/icmp/ratelimit": 0,
    "ipv6/ip6frag_time": 3600,
    "ipv6/route/gc_interval": 86400,
    "ipv6/route/mtu_expires": 86400,
    "ipv6/ip6frag_high_thresh": 1 << 30,
}
"""Answers follow from frames alone: nothing is limited by time, and what is learned (the MTU of a
path) is not forgotten at a moment of each namespace's own."""


class Side(Closing):
    """A lab that is up, with sockets on its wire and in its containers. A context manager."""

    def __init__(self, spec: LabSpec, inner_mtu: int | None = None) -> None:
        """Make the lab. ``inner_mtu``: of tunnel, bridge and containers, where it is smaller.

        Raises:
            OversprayError: the lab cannot be built.
        """
        self.datapath: Datapath | None = None
        self._stack = ExitStack()
        try:
            self.lab = self._stack.enter_context(labs.held(spec))
            self._attached = self._stack.enter_context(ExitStack())
            self._bridge = self.lab.tunnel_ns if self.lab.spec.has_containers else None
            _prepare(self.lab, inner_mtu)
            self._stack.enter_context(_silent(self.lab))
            self._wire = self._stack.enter_context(_packets(self.lab.wire_ns, self.lab.wire))
            self._ears: list[tuple[str, socket.socket]] = [("wire", self._wire)]
            for end in self.lab.endpoints:
                name = f"c{end.index}"
                ear = self._stack.enter_context(_packets(end.netns, end.device))
                application = self._stack.enter_context(_application(end.netns))
                self._ears += [(name, ear), (f"{name} socket", application)]
        except BaseException:
            self._stack.close()
            raise
        self._poll = select.poll()
        for _, ear in self._ears:
            self._poll.register(ear, select.POLLIN)
        self._buffer = bytearray(1 << 17)

    def attach(self, plan: Plan, programs: Programs) -> None:
        """Put our datapath in effect until the side is closed or another one takes its place."""
        self._attached.close()
        overlay = self._attached.enter_context(discovered(self.lab.host_ns, self.lab.nic))
        changes = self._attached.enter_context(Changes())
        made = Datapath(overlay, plan, changes, programs)
        self.datapath = self._attached.enter_context(made)

    def forget(self) -> None:
        """Let the bridge forget what it learned from frames, so that each batch finds it alike."""
        if self._bridge is None:
            return
        with entered(self._bridge), IPRoute() as route:
            index = route.link_lookup(ifname=self.lab.bridge)[0]
            route.link("set", index=index, kind="bridge", br_fdb_flush=True)

    def totals(self) -> Totals:
        """What our datapath has counted; zero on the stock side."""
        return self.datapath.totals() if self.datapath else Totals()

    def send(self, frames: Sequence[bytes]) -> None:
        """Put frames on the wire, in order.

        Raises:
            OversprayError: the kernel did not take one.
        """
        _send_all(self._wire, frames)

    def seen(self, last: bytes, must: bool = True) -> "Counter[Sight]":
        """Everything that came out, until all containers have seen a frame that holds ``last``,
        nothing is on its way to workers, and nothing more comes for some milliseconds. Unless it
        ``must`` be so, waiting ends after a while, and what is missing is missing.

        Raises:
            OversprayError: a container has not seen it, or a capture lost something.
        """
        found: list[Sight] = []
        waiting = {f"c{end.index}" for end in self.lab.endpoints}
        since = began = time.monotonic()
        while waiting or not self._drained() or time.monotonic() - since < _QUIET:
            came = self._hear()
            if came:
                since = time.monotonic()
                found += came
                waiting -= {place for place, data in came if last in data}
            elif not must and time.monotonic() - began > _SHORT_PATIENCE:
                break
            elif time.monotonic() - began > _PATIENCE:
                raise OversprayError(
                    f"lab '{self.lab.spec.name}': the last frame, which must be delivered, did not "
                    f"reach '{min(waiting, default='a worker')}': nothing can be said of this lab"
                )
            self._poll.poll(1)
        self._raise_if_lost()
        return Counter(found)

    def late(self, seconds: float) -> "Counter[Sight]":
        """What else comes until there is quiet for that long."""
        found: list[Sight] = []
        since = time.monotonic()
        while time.monotonic() - since < seconds:
            if came := self._hear():
                since = time.monotonic()
                found += came
            self._poll.poll(1)
        return Counter(found)

    def close(self) -> None:
        """Detach and take the lab down."""
        self._stack.close()

    def _drained(self) -> bool:
        if self.datapath is None:
            return True
        workers = self.datapath.unit.workers()
        return int(workers["sent"].sum()) == int(workers["done"].sum() + workers["lost"].sum())

    def _hear(self) -> list[Sight]:
        """Everything that is there now."""
        return [sight for place, ear in self._ears for sight in self._heard(place, ear)]

    def _heard(self, place: str, ear: socket.socket) -> Iterator[Sight]:
        view = memoryview(self._buffer)
        packet = ear.family == socket.AF_PACKET
        while True:
            try:
                size, notes, _, sender = ear.recvmsg_into([view], 256)
            except BlockingIOError:
                return
            data = bytes(view[:size])
            if not packet:
                data = _letter(data, notes, sender)
            else:
                data = _with_vlan(data, notes)
                if place == "wire":
                    data = comparable(data)
            yield place, data

    def _raise_if_lost(self) -> None:
        for place, ear in self._ears:
            if ear.family != socket.AF_PACKET:
                continue
            _, lost = struct.unpack("=II", ear.getsockopt(_AF_PACKET_LEVEL, 6, 8))
            if lost:
                raise OversprayError(f"the capture at '{place}' lost {lost} frames")


def _with_vlan(frame: bytes, notes: list[tuple[int, int, bytes]]) -> bytes:
    """The frame with the VLAN tag that the kernel keeps beside it."""
    for level, kind, data in notes:
        if (level, kind) == (_AF_PACKET_LEVEL, _AUXDATA):
            status, _, _, _, _, tag, protocol = _AUX.unpack(data)
            if status & _VLAN_VALID:
                return frame[:12] + struct.pack("!HH", protocol, tag) + frame[12:]
    return frame


def _letter(data: bytes, notes: list[tuple[int, int, bytes]], sender: tuple[object, ...]) -> bytes:
    """What an application is told: payload, sender, receiver, TTL and traffic class."""
    beside = b" ".join(b"%d:%s" % (kind, value.hex().encode()) for _, kind, value in sorted(notes))
    return b"%s | %s | %s" % (data, repr(sender[:2]).encode(), beside)


def comparable(answer: bytes) -> bytes:
    """An answer without what the kernel draws at random for each namespace, or reads from a clock:
    the identification of IPv4 packets and of IPv6 fragments, outside and inside, and the times in
    an ICMP timestamp reply. Of a checksum over it only is kept whether it is right."""
    plain, at = bytearray(answer), 14
    for _ in range(2):
        kind = bytes(plain[at - 2 : at])
        layer4 = _forget_ident(plain, at) if kind in (b"\x08\x00", b"\x86\xdd") else 0
        if kind == b"\x08\x00" and plain[at + 9] == 1 and plain[layer4 : layer4 + 1] == b"\x0e":
            plain[layer4 + 2 : layer4 + 4] = plain[layer4 + 12 : layer4 + 20] = b""
        if plain[layer4 + 2 : layer4 + 4] != _TUNNEL_PORT:
            break
        at = layer4 + 8 + 8 + 14
    return bytes(plain)


def _forget_ident(frame: bytearray, at: int) -> int:
    """Do so for the packet there; where its layer 4 is."""
    if frame[at] >> 4 == 6:
        if frame[at + 6] == socket.IPPROTO_FRAGMENT:
            frame[at + 44 : at + 48] = bytes(4)
        return at + 40
    size = 4 * (frame[at] & 15)
    right = ones_sum(bytes(frame[at : at + size])) == 0xFFFF
    frame[at + 4 : at + 6] = bytes(2)
    if right:
        frame[at + 10 : at + 12] = b"ok"
    return at + size


@contextmanager
def _packets(ns: str, device: str) -> Iterator[socket.socket]:
    with entered(ns):
        ear = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        index = socket.if_nametoindex(device)
    with ear:
        # SO_RCVBUFFORCE: 64 MiB whatever the host allows.
        ear.setsockopt(socket.SOL_SOCKET, 33, 1 << 26)
        ear.setsockopt(_AF_PACKET_LEVEL, _AUXDATA, 1)
        ear.setsockopt(_AF_PACKET_LEVEL, _IGNORE_OUTGOING, 1)
        ear.setsockopt(_AF_PACKET_LEVEL, _QDISC_BYPASS, 1)
        ear.setblocking(False)
        with entered(ns):
            ear.bind((device, 3))
        assert index
        yield ear


@contextmanager
def _application(ns: str) -> Iterator[socket.socket]:
    """A UDP socket for both IP versions that wants to know everything about a datagram."""
    with entered(ns):
        ear = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    with ear:
        ear.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        ear.setsockopt(socket.SOL_SOCKET, 33, 1 << 26)
        for option in (socket.IP_TOS + 12, socket.IP_TTL + 10):  # IP_RECVTOS, IP_RECVTTL
            ear.setsockopt(socket.IPPROTO_IP, option, 1)
        for option in (socket.IPV6_RECVPKTINFO, socket.IPV6_RECVHOPLIMIT, socket.IPV6_RECVTCLASS):
            ear.setsockopt(socket.IPPROTO_IPV6, option, 1)
        ear.setblocking(False)
        ear.bind(("::", OPEN_PORT))
        yield ear


@contextmanager
def _silent(lab: Lab) -> Iterator[None]:
    """The wire's own stack hears nothing (captures come first): answers are answered by nobody."""
    program = bpf.prog_load(bpf.returning(_TC_ACT_SHOT), bpf.PROG_TYPE_SCHED_CLS, 0, "silent")
    try:
        with entered(lab.wire_ns):
            index = socket.if_nametoindex(lab.wire)
            link = bpf.link_create(program, index, bpf.ATTACH_TCX_INGRESS)
    finally:
        os.close(program)
    try:
        yield
    finally:
        os.close(link)


def _prepare(lab: Lab, inner_mtu: int | None) -> None:
    for ns in lab.namespaces:
        with entered(ns):
            for key, value in _SETTINGS.items():
                with suppress(FileNotFoundError):  # no IPv6, or a setting that is the whole host's
                    Path("/proc/sys/net", key).write_text(str(value))
            for path in Path("/proc/sys/net").glob("ipv[46]/conf/*/accept_redirects"):
                path.write_text("0")
    underlay = lab.spec.outer
    with entered(lab.host_ns), IPRoute() as route:
        nic = route.link_lookup(ifname=lab.nic)[0]
        _all_by(route, nic, lab.remote_vtep_ip, default=lab.spec.has_containers)
        route.neigh(
            "replace", ifindex=nic, dst=OTHER_VTEP[underlay], lladdr=lab.wire_mac, state=0x80
        )
    assert lab.tunnel_ns
    with entered(lab.tunnel_ns), IPRoute() as route:
        tunnel = route.link_lookup(ifname=lab.tunnel)[0]
        route.fdb("append", ifindex=tunnel, lladdr=OTHER_MAC, dst=OTHER_VTEP[underlay], state=0x80)
    for end in lab.endpoints:
        with entered(end.netns), IPRoute() as route:
            _all_by(route, route.link_lookup(ifname=end.device)[0], end.peer_ip, default=True)
    if inner_mtu is not None:
        _shrink(lab, inner_mtu)


def _shrink(lab: Lab, mtu: int) -> None:
    """A large MTU outside, a small one inside: so it is where jumbo frames came later."""
    for ns, devices in lab.devices.items():
        with entered(ns), IPRoute() as route:
            for device in devices - {lab.nic, lab.wire}:
                route.link("set", index=route.link_lookup(ifname=device)[0], mtu=mtu)


def _all_by(route: IPRoute, index: int, gateway: str, default: bool) -> None:
    """Whoever is answered is answered by way of this neighbour, who is known: no ARP, no delay."""
    six = ":" in gateway
    family = socket.AF_INET6 if six else socket.AF_INET
    whole = f"{gateway}/{128 if six else 32}"
    route.route("replace", dst=whole, oif=index, family=family, scope=0 if six else 253)
    if default:
        route.route("replace", dst="default", gateway=gateway, oif=index, family=family)
    for each in route.get_routes(family=family, oif=index, table=254):
        near = 0 < each["dst_len"] < (128 if six else 32) and not each.get_attr("RTA_GATEWAY")
        if near and each["proto"] == _BY_KERNEL:
            target = f"{each.get_attr('RTA_DST')}/{each['dst_len']}"
            kind = {"scope": each["scope"], "proto": each["proto"]}
            route.route("del", dst=target, oif=index, family=family, **kind)


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


_libc = ctypes.CDLL(None, use_errno=True)


def _send_all(wire: socket.socket, frames: Sequence[bytes]) -> None:
    """sendmmsg(2): arrays of struct iovec (16 bytes) and of struct mmsghdr (64 bytes)."""
    data = np.frombuffer(b"".join(frames), np.uint8)
    lengths = np.fromiter(map(len, frames), np.uint64, len(frames))
    vectors = np.zeros((len(frames), 2), np.uint64)
    vectors[:, 1] = lengths
    vectors[:, 0] = data.ctypes.data + np.concatenate(([0], np.cumsum(lengths)[:-1])).astype(
        np.uint64
    )
    headers = np.zeros((len(frames), 8), np.uint64)
    headers[:, 2] = vectors.ctypes.data + 16 * np.arange(len(frames), dtype=np.uint64)
    headers[:, 3] = 1
    done = 0
    while done < len(frames):
        at = ctypes.c_void_p(headers.ctypes.data + 64 * done)
        sent = int(_libc.sendmmsg(wire.fileno(), at, len(frames) - done, 0))
        if sent <= 0:
            number = ctypes.get_errno()
            raise OversprayError(
                f"the wire takes no frame of {int(lengths[done])} bytes: {os.strerror(number)}"
            )
        done += sent
