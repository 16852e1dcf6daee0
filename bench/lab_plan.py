"""What a lab consists of, worked out from its spec alone: names, addresses, MACs. Changes nothing.

The wire namespace is the other host, ``nic0`` our NIC; behind it stands one of the four cases. All
names are fixed by (lab name, case), so that a lab can be found, and taken down, by these two.
"""

import os
import re
from dataclasses import asdict, dataclass
from ipaddress import ip_address
from typing import Any

from bench.variant import CASES
from steering.errors import BadInput, unknown
from steering.target import Container, StockTarget

VXLAN_PORT = 4789
MAX_CONTAINERS, MAX_QUEUES, MAX_VNI = 80, 64, (1 << 24) - 1
# What a veth with native XDP takes: a page less 256 (+2) of headroom, 14 of header, 320 of tail.
MAX_MTU = 3504
_MIN_MTU = {4: 576, 6: 1280}
_TUNNEL_BYTES = {4: 50, 6: 70}
"""Outer IP, UDP, VXLAN and inner Ethernet header."""

# RFC 2544's addresses for benchmarks, and a unique local prefix; labs never meet.
_OUTER = {4: ("198.18.0.1", "198.18.0.2"), 6: ("fd00:5:1::1", "fd00:5:1::2")}
_INNER_PEER = {4: ip_address("10.77.2.1"), 6: ip_address("fd00:5:2::2:1")}
_INNER_OURS = {4: ip_address("10.77.1.1"), 6: ip_address("fd00:5:2::1:1")}
OUTER_PREFIX = {4: 24, 6: 64}
INNER_PREFIX = {4: 16, 6: 64}
WIRE_MAC, NIC_MAC = "02:05:00:00:00:01", "02:05:00:00:00:02"
PEER_MAC, TUNNEL_MAC, BRIDGE_MAC = "02:05:01:00:00:01", "02:05:02:00:00:01", "02:05:02:00:00:02"
_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")


@dataclass(frozen=True)
class LabSpec:
    """What a lab is asked to be. Sizes in bytes; ``queues`` None means one for each core.

    Raises:
        BadInput: a case, name or number that a lab cannot have.
    """

    case: str
    name: str = "osp"
    containers: int = 1
    queues: int | None = None
    mtu: int = 1500
    outer: int = 4
    inner: int = 4
    vni: int = 42

    def __post_init__(self) -> None:
        if self.case not in CASES:
            raise unknown("case", self.case, CASES)
        check_name(self.name)
        _within("outer IP version", self.outer, (4, 6))
        _within("inner IP version", self.inner, (4, 6))
        _between("containers", self.containers, 1, MAX_CONTAINERS)
        _between("queues", self.queue_count, 1, MAX_QUEUES)
        _between("VNI", self.vni, 1, MAX_VNI)
        _between("MTU", self.mtu, self.smallest_mtu, MAX_MTU)
        if self.containers > 1 and not self.has_containers:
            raise BadInput(f"case '{self.case}' has no containers: leave the number of them out")

    @property
    def has_containers(self) -> bool:
        """Whether packets end in containers (else they end in the host namespace)."""
        return self.case in ("docker", "flannel")

    @property
    def queue_count(self) -> int:
        """Queues of nic0 and of each container's veth."""
        return (os.cpu_count() or 1) if self.queues is None else self.queues

    @property
    def underlay(self) -> int:
        """IP version on nic0: the outer one, or in case ``native``, which has one only, inner."""
        return self.inner if self.case == "native" else self.outer

    @property
    def tunnel_bytes(self) -> int:
        """Bytes of the MTU that the tunnel takes; 0 in case ``native``."""
        return 0 if self.case == "native" else _TUNNEL_BYTES[self.outer]

    @property
    def inner_mtu(self) -> int:
        """The MTU that the endpoints see."""
        return self.mtu - self.tunnel_bytes

    @property
    def smallest_mtu(self) -> int:
        """The smallest MTU at which both IP versions of this lab still work."""
        return max(_MIN_MTU[self.underlay], _MIN_MTU[self.inner] + self.tunnel_bytes)

    @property
    def versions(self) -> set[int]:
        """The IP versions that occur."""
        return {self.underlay, self.inner}


@dataclass(frozen=True)
class Endpoint:
    """Where packets end, and the remote talker (``peer_*``) whose frames are sent to it.

    ``host_*`` is the other end of its veth; where there is none, the endpoint itself.
    """

    index: int
    netns: str
    device: str
    mac: str
    ip: str
    peer_mac: str
    peer_ip: str
    host_netns: str
    host_device: str


@dataclass(frozen=True)
class Lab:
    """A lab's namespaces, devices and addresses. ``vtep_ip`` is ours, the other one the wire's."""

    spec: LabSpec
    endpoints: tuple[Endpoint, ...]
    vtep_ip: str
    remote_vtep_ip: str
    nic: str = "nic0"
    wire: str = "wire0"
    nic_mac: str = NIC_MAC
    wire_mac: str = WIRE_MAC
    tunnel: str = "vxlan0"
    bridge: str = "br0"
    port: int = VXLAN_PORT

    @property
    def prefix(self) -> str:
        """What all its namespaces' names start with."""
        return prefix_of(self.spec.name, self.spec.case)

    @property
    def wire_ns(self) -> str:
        """The other host."""
        return f"{self.prefix}wire"

    @property
    def host_ns(self) -> str:
        """Our host: the namespace of nic0."""
        return f"{self.prefix}host"

    @property
    def overlay_ns(self) -> str | None:
        """The namespace that Docker keeps for an overlay network; None in the other cases."""
        return f"{self.prefix}overlay" if self.spec.case == "docker" else None

    @property
    def tunnel_ns(self) -> str | None:
        """Where ``vxlan0`` (and ``br0``) is on our side; None in case ``native``."""
        return None if self.spec.case == "native" else self.overlay_ns or self.host_ns

    @property
    def namespaces(self) -> list[str]:
        """All of its namespaces, hosts first."""
        ends = [end.netns for end in self.endpoints if self.spec.has_containers]
        return [ns for ns in (self.wire_ns, self.host_ns, self.overlay_ns, *ends) if ns]

    @property
    def devices(self) -> dict[str, set[str]]:
        """Its devices by namespace, without loopback and the kernel's own."""
        found: dict[str, set[str]] = {self.wire_ns: {self.wire}, self.host_ns: {self.nic}}
        if self.tunnel_ns is not None:
            found[self.wire_ns].add(self.tunnel)
            found.setdefault(self.tunnel_ns, set()).add(self.tunnel)
        if self.spec.has_containers:
            for end in self.endpoints:
                found[end.netns] = {end.device}
                found[end.host_netns] |= {self.bridge, end.host_device}
        return found

    @property
    def target(self) -> StockTarget:
        """The devices on the way in, as stock settings and the datapath want them."""
        containers = tuple(
            Container(end.host_netns, end.host_device, end.netns, end.device)
            for end in self.endpoints
            if self.spec.has_containers
        )
        tunnel = self.tunnel if self.tunnel_ns else None
        return StockTarget(self.host_ns, self.nic, self.tunnel_ns, tunnel, containers)

    def as_dict(self) -> dict[str, Any]:
        """Everything about it as plain values, for JSON."""
        plain = asdict(self)
        for key in ("wire_ns", "host_ns", "overlay_ns", "tunnel_ns"):
            plain[key] = getattr(self, key)
        return plain


def plan(spec: LabSpec) -> Lab:
    """The lab that a spec describes."""
    wire_ip, nic_ip = _OUTER[spec.underlay]
    endpoints = tuple(_endpoint(spec, index) for index in range(spec.containers))
    return Lab(spec=spec, endpoints=endpoints, vtep_ip=nic_ip, remote_vtep_ip=wire_ip)


def _endpoint(spec: LabSpec, index: int) -> Endpoint:
    prefix = prefix_of(spec.name, spec.case)
    host_ns = f"{prefix}host"
    if spec.case == "native":
        wire_ip, nic_ip = _OUTER[spec.underlay]
        return Endpoint(index, host_ns, "nic0", NIC_MAC, nic_ip, WIRE_MAC, wire_ip, host_ns, "nic0")
    ip, peer_ip = str(_INNER_OURS[spec.inner] + index), str(_INNER_PEER[spec.inner] + index)
    if spec.case == "linux":
        return Endpoint(
            index, host_ns, "vxlan0", TUNNEL_MAC, ip, PEER_MAC, peer_ip, host_ns, "vxlan0"
        )
    bridge_ns = f"{prefix}overlay" if spec.case == "docker" else host_ns
    mac = f"02:05:03:00:00:{index + 1:02x}"
    return Endpoint(
        index, f"{prefix}c{index}", "eth0", mac, ip, PEER_MAC, peer_ip, bridge_ns, f"veth{index}"
    )


def prefix_of(name: str, case: str) -> str:
    """What the names of a lab's namespaces start with."""
    return f"{name}-{case}-"


def check_name(name: str) -> None:
    """BadInput unless a lab can be called so."""
    if not _NAME.fullmatch(name):
        raise BadInput(f"'{name}' is no lab name: small letters, digits and '-', at most 32")


def _between(what: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise BadInput(f"{what} {value} is out of range: from {low} to {high}")


def _within(what: str, value: int, allowed: tuple[int, ...]) -> None:
    if value not in allowed:
        raise BadInput(f"{what} {value}: choose from {', '.join(map(str, allowed))}")
