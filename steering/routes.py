"""From a snapshot of an overlay to the entries of the datapath's maps, and the helpers they need.

Delivery ``veth`` redirects into a container's veth by a devmap, which reaches any namespace.
Delivery ``peer`` leaves the frame to the stack of the NIC's namespace and picks it up after GRO; a
container whose host end is in another namespace (Docker) is reached over a helper veth.
"""

import ipaddress
import os
import socket
import struct
import zlib
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path

import numpy as np

from steering import bpf
from steering.compile import Module
from steering.errors import OversprayError
from steering.layout import header
from steering.netns import entered
from steering.overlay import Endpoint, HeldNamespace, Overlay
from steering.undo import Changes


class Delivery(StrEnum):
    """How a decapsulated frame gets into its container."""

    VETH = "veth"
    PEER = "peer"


@dataclass(frozen=True)
class Route:
    """How the frames of one endpoint get there: the second half of struct endpoint."""

    delivery: str
    port: int = 0
    device: int = 0
    next: int = 0
    home: int = 0
    """Cookie of the container's namespace; 0: it has no short way back."""
    host: int = 0
    exit: int = 0
    number: int = 0
    """Of the container, as policies know it (struct packet)."""

    def row(self, key: bytes, valid: bool) -> bytes:
        """A row of the map ``endpoints`` (struct endpoint)."""
        kinds = header("maps.h").enum("delivery")
        kind = kinds[f"DELIVERY_{self.delivery.upper()}"]
        ways = (valid, kind, self.port, self.device, self.next)
        return key + struct.pack("=5IQ4I", *ways, self.home, self.host, self.exit, self.number, 0)


def tunnel_keys(overlay: Overlay) -> set[bytes]:
    """Keys of the map ``tunnel_rows``: every outer header that may be decapsulated."""
    keys = set()
    dtype = header("maps.h").struct("tunnel_key")
    for tunnel in overlay.tunnels:
        for local in overlay.own_addresses(tunnel):
            for remote in tunnel.remotes:
                if (":" in local) != (":" in remote):
                    continue
                for bare in (0, 1) if tunnel.zero_checksum6 and ":" in local else (0,):
                    key = np.zeros((), dtype)
                    key["local"], key["remote"] = address_words(local), address_words(remote)
                    key["vni"], key["port"], key["bare"] = tunnel.vni, tunnel.port, bare
                    keys.add(key.tobytes())
    return keys


def tunnel_row(key: bytes, valid: bool) -> bytes:
    """A row of the map ``tunnels`` (struct tunnel)."""
    return key + struct.pack("=I", valid)


def sender_rows(overlay: Overlay) -> dict[bytes, Callable[[bool], bytes]]:
    """Rows of the map ``senders`` by key: remote MACs that are fixed behind a VTEP."""
    behind: dict[bytes, set[str]] = {}
    for tunnel in overlay.tunnels:
        for mac, vtep in tunnel.fixed_macs:
            behind.setdefault(_mac_key(tunnel.vni, mac, tunnel.port), set()).add(vtep)

    def row(key: bytes, valid: bool) -> bytes:
        # Of several the kernel heeds the first it was told, which netlink does not show.
        words = address_words(next(iter(behind[key]))) if len(behind[key]) == 1 else [0] * 4
        return key + struct.pack("=5I", valid, *words)

    return {key: partial(row, key) for key in behind}


def address_words(address: str) -> list[int]:
    """An address as four 32-bit words in network byte order; IPv4 as ::ffff:a.b.c.d."""
    parsed = ipaddress.ip_address(address)
    raw = parsed.packed if parsed.version == 6 else b"\0" * 10 + b"\xff\xff" + parsed.packed
    return list(struct.unpack("=4I", raw))


def endpoint_key(end: Endpoint) -> bytes:
    """Key of the map ``endpoint_rows``."""
    return _mac_key(end.vni, end.mac, end.port)


def _mac_key(vni: int, mac: str, port: int) -> bytes:
    return struct.pack("=I6sH", vni, bytes.fromhex(mac.replace(":", "")), port)


class Routes:
    """Keeps a route for every endpoint of an overlay, and what the routes stand on.

    What containers need (queues, NAPI) and the helper veths are undone by :meth:`close`, and by the
    journal of ``changes`` should this process die.
    """

    def __init__(
        self,
        overlay: Overlay,
        delivery: Delivery,
        changes: Changes,
        peer: Callable[[int], Module],
    ) -> None:
        """``peer`` gives the program of a hop (:meth:`steering.datapath.Programs.peer`)."""
        self.nic_ns = overlay.nic_ns
        self.delivery = delivery
        self.ports: dict[int, Endpoint] = {}
        self.table: dict[Endpoint, Route] = {}
        self.refused: dict[Endpoint, str] = {}
        """Endpoints that are left to the stock path, and why; tried again with every update."""
        self._nic = overlay.nic_ifindex
        self._changes = changes
        self._peer = peer
        self._helpers: dict[HeldNamespace, _Helper] = {}
        self._prepared: dict[Endpoint, ExitStack] = {}
        self._left = ExitStack()
        self._next_port = 0
        self.update(overlay)

    def update(self, overlay: Overlay) -> None:
        """Routes for endpoints that came, none for those that went.

        Once no frame is sent there any more, :meth:`tidy` takes away what the latter stood on.
        """
        self.tidy()  # after an update that was broken off
        for end in self.table.keys() - overlay.endpoints:
            del self.table[end]
            self.ports = {port: held for port, held in self.ports.items() if held != end}
            self._left.push(self._prepared.pop(end, ExitStack()))
        for ns in self._helpers.keys() - {end.host_ns for end in overlay.endpoints}:
            # A namespace that comes later may have the number of one that went.
            self._left.callback(self._helpers.pop(ns).close)
        self.refused = {}
        for end in sorted(overlay.endpoints - self.table.keys(), key=lambda end: end.mac):
            try:
                self.table[end] = replace(self._route(end), number=self._free_number())
            except OversprayError as error:
                self.refused[end] = str(error)

    def _free_number(self) -> int:
        """The lowest that no container has, so that with few of them all numbers are low."""
        taken = {route.number for route in self.table.values()}
        return next(number for number in range(len(taken) + 1) if number not in taken)

    def tidy(self) -> None:
        """Let go of what endpoints that went have stood on."""
        self._left.close()

    def close(self) -> None:
        """Take helper veths and programs away."""
        self.tidy()
        for stack in self._prepared.values():
            stack.close()
        for helper in self._helpers.values():
            helper.close()
        self._prepared.clear()
        self._helpers.clear()

    def _route(self, end: Endpoint) -> Route:
        most = header("maps.h").constants["MAX_ENDPOINTS"] - 1  # row 0 stays empty
        if len(self.table) >= most:
            raise OversprayError(f"more than {most} containers")
        if end.kind == "tunnel":
            if end.ns != self.nic_ns:
                raise OversprayError(f"'{end.device}' is in another namespace than the NIC")
            if not bpf.has_tcx():
                raise OversprayError(f"'{end.device}' is reached over tcx links (Linux 6.6) only")
            return Route("ingress", device=end.ifindex)
        if self.delivery is Delivery.PEER:
            if end.host_ns == self.nic_ns:
                first, second, out = end.host_ifindex, 0, self._nic
            else:
                helper = self._helper(end.host_ns)
                first, second, out = helper.ifindex, end.host_ifindex, helper.far_ifindex
            home = end.ns.cookie
            return Route("peer", 0, first, second, home, end.host_ifindex, out)
        self._prepared[end] = self._prepare_veth(end)
        port = self._free_port()
        self.ports[port] = end
        return Route("veth", port=port)

    def _free_port(self) -> int:
        """A place in the devmap that was free for long: frames on their way name their place."""
        most = header("maps.h").constants["MAX_ENDPOINTS"]
        while self._next_port in self.ports:
            self._next_port = (self._next_port + 1) % most
        port, self._next_port = self._next_port, (self._next_port + 1) % most
        return port

    def _helper(self, ns: HeldNamespace) -> "_Helper":
        if ns not in self._helpers:
            name = helper_name(self.nic_ns.inode, self._nic, ns.inode)
            ends = (self.nic_ns, self._nic), (ns, self._peer(1))
            self._helpers[ns] = _Helper(name, *ends, self._changes)
        return self._helpers[ns]

    def _prepare_veth(self, end: Endpoint) -> ExitStack:
        """A veth takes redirected frames when its other end has NAPI, one queue for each core."""
        stack = ExitStack()
        queues = min(end.rx_queues, os.cpu_count() or 1)
        self._changes.channels(end.ns.found_at, end.device, rx=queues, tx=queues)
        stack.enter_context(napi_on(end.ns, end.ifindex))
        return stack


def helper_name(near: int, nic: int, far: int) -> str:
    """The name of a helper veth: two NICs of one namespace may lead into one overlay's."""
    return f"osp{zlib.crc32(struct.pack('=3Q', near, nic, far)):08x}"


def napi_on(ns: HeldNamespace, ifindex: int) -> ExitStack:
    """NAPI on a veth without GRO: a program that passes everything, held by a link."""
    stack = ExitStack()
    with entered(ns.path):
        link = bpf.link_passing(ifindex)
    stack.callback(os.close, link)
    return stack


def out_of(nic: int) -> int:
    """A tc program that sends everything out of a device: the last hop of the way back.

    Nothing comes by a helper veth but what back.bpf.c has put into the tunnel.
    """
    # r1 = nic; r2 = 0; call bpf_redirect; exit with what it returns.
    instructions = struct.pack(
        "=BBhiBBhiBBhiBBhi", *(0xB7, 1, 0, nic), *(0xB7, 2, 0, 0), *(0x85, 0, 0, 23), 0x95, 0, 0, 0
    )
    return bpf.prog_load(instructions, bpf.PROG_TYPE_SCHED_CLS, 0, "out_of")


class _Helper:
    """A veth from the NIC's namespace into an overlay's, with the second hop behind it."""

    def __init__(
        self,
        name: str,
        near: tuple[HeldNamespace, int],
        far: tuple[HeldNamespace, Module],
        changes: Changes,
    ) -> None:
        """From the namespace of a NIC to the one with what comes behind: the second hop."""
        from pyroute2.netlink.exceptions import NetlinkError

        self.name = name
        self._near, nic = near
        changes.made(self._near.found_at, name)
        with ExitStack() as stack:
            stack.callback(self._remove)
            try:
                self._make(nic, *far)
            except NetlinkError as error:
                raise OversprayError(f"helper veth into '{far[0]}': {error.args[-1]}") from None
            stack.pop_all()

    def close(self) -> None:
        """Remove it, with the programs at its ends."""
        for link in self._links:
            os.close(link)
        self._remove()

    def _make(self, nic: int, far: HeldNamespace, second_hop: Module) -> None:
        from pyroute2 import IPRoute

        kind, self._links = bpf.ATTACH_TCX_INGRESS, []

        with entered(self._near.path), IPRoute() as route:
            peer = {"ifname": self.name, "net_ns_fd": far.fd}
            route.link("add", ifname=self.name, kind="veth", peer=peer)
            self.ifindex = socket.if_nametoindex(self.name)
            _quiet(self.name)
            route.link("set", index=self.ifindex, state="up")
            program = out_of(nic)
            try:
                self._links.append(bpf.link_create(program, self.ifindex, kind))
            finally:
                os.close(program)
        program = second_hop.load("peer", bpf.PROG_TYPE_SCHED_CLS)
        with entered(far.path), IPRoute() as route:
            self.far_ifindex = socket.if_nametoindex(self.name)
            _quiet(self.name)
            route.link("set", index=self.far_ifindex, state="up")
            self._links.append(bpf.link_create(program, self.far_ifindex, kind))

    def _remove(self) -> None:
        """Nothing is left to remove where one of the two namespaces has gone."""
        from pyroute2 import IPRoute
        from pyroute2.netlink.exceptions import NetlinkError

        with suppress(OversprayError, NetlinkError), entered(self._near.path), IPRoute() as route:
            for index in route.link_lookup(ifname=self.name):
                route.link("del", index=index)


def _quiet(device: str) -> None:
    """No router solicitations or neighbour discovery on a device that carries no addresses."""
    switch = Path(f"/proc/sys/net/ipv6/conf/{device}/disable_ipv6")
    if switch.exists():
        switch.write_text("1")
