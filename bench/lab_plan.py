"""What a lab consists of, worked out from its case alone: namespaces, devices, addresses. Changes nothing."""

from dataclasses import dataclass, field

from steering import cores
from steering.errors import BadInput, unknown

CASES = ("native", "linux", "flannel", "docker")
WITH_CONTAINERS = ("flannel", "docker")
MOST_CONTAINERS = 80
VXLAN_PORT = 4789
TUNNEL_BYTES = 100
"""What the underlay takes more than the overlay: outer headers (RFC 7348), of IPv6 as well, and some room."""
LOWEST_MTU, HIGHEST_MTU = {4: 576, 6: 1280}, 9000
"""Bytes of an IP packet, by version; above some 3400 a veth takes no native XDP, and the kernel says so."""
IP_VERSIONS = (4, 6)
_OUTSIDE = {4: "198.18.0.", 6: "2001:2::"}
"""RFC 2544's range for benchmarks, and RFC 5180's."""
_INSIDE = {4: "10.77.1.", 6: "2001:db8:77:1::"}
_OTHERS = {4: "10.77.2.", 6: "2001:db8:77:2::"}
"""What is in the tunnel, here and on the other host: private, and RFC 3849's range for documents."""


@dataclass(frozen=True)
class Container:
    """A container of the plan, and the other host's container whose frames are for it."""

    role: str
    mac: str
    ip: str
    veth: str
    """The host's end, on the bridge; its own end is called ``eth0``."""


@dataclass(frozen=True)
class Plan:
    """Devices and addresses of one case; BadInput where there is no such case, or too many containers.

    The last bytes of containers' addresses count up from 1, which the wire relies on (wire.bpf.c).
    """

    case: str = "native"
    count: int = 1
    """How many containers, where the case has any."""
    inner: int = 4
    """IP version of the packets that are for the sink."""
    outer: int = 4
    """IP version that the tunnel goes over, where the case has one."""
    wire: str = "wire0"
    wire_mac: str = "02:00:00:00:00:01"
    wire_ip: str = field(init=False)
    nic: str = "nic0"
    nic_mac: str = "02:00:00:00:00:02"
    nic_ip: str = field(init=False)
    queues: int = field(default_factory=lambda: len(cores.online()))
    tunnel: str = "vxlan0"
    tunnel_mac: str = "02:00:00:00:01:02"
    bridge: str = "br0"
    vni: int = 42
    port: int = VXLAN_PORT
    peer_mac: str = "02:00:00:00:01:01"
    peer_ip: str = field(init=False)
    host_ip: str = field(init=False)
    """The tunnel device's own address, in case ``linux``."""
    inner_mtu: int = 1500
    """Of what is in the tunnel; of the NIC, where there is none."""

    def __post_init__(self) -> None:
        if self.case not in CASES:
            raise unknown("case", self.case, CASES)
        if not 1 <= self.count <= MOST_CONTAINERS:
            raise BadInput(f"{self.count} containers: choose from 1 to {MOST_CONTAINERS}")
        if not self.has_containers and self.count != 1:
            raise BadInput(f"case '{self.case}' has no containers: leave their number out")
        for where, version in (("", self.inner), ("outer ", self.outer)):
            if version not in IP_VERSIONS:
                raise BadInput(f"{where}IP version {version}: choose 4 or 6")
        if not self.has_tunnel and self.outer != 4:
            raise BadInput(f"case '{self.case}' has no tunnel: leave the outer IP version out")
        lowest = max(LOWEST_MTU[self.inner], LOWEST_MTU[self.outer] - TUNNEL_BYTES)
        if not lowest <= self.inner_mtu <= HIGHEST_MTU:
            raise BadInput(f"mtu {self.inner_mtu} is out of range: choose from {lowest} to {HIGHEST_MTU}")
        for name, ip in (
            ("wire_ip", f"{_OUTSIDE[self.underlay]}1"),
            ("nic_ip", f"{_OUTSIDE[self.underlay]}2"),
            ("peer_ip", f"{_OTHERS[self.inner]}1"),
            ("host_ip", f"{_INSIDE[self.inner]}1"),
        ):
            object.__setattr__(self, name, ip)

    @property
    def mtu(self) -> int:
        """Of the underlay: room for the largest packet in the tunnel."""
        return self.inner_mtu + TUNNEL_BYTES

    @property
    def has_tunnel(self) -> bool:
        """Whether packets come in VXLAN."""
        return self.case != "native"

    @property
    def has_containers(self) -> bool:
        """Whether there are a bridge and containers behind the tunnel."""
        return self.case in WITH_CONTAINERS

    @property
    def underlay(self) -> int:
        """IP version on the cable."""
        return self.outer if self.has_tunnel else self.inner

    @property
    def prefix(self) -> int:
        """Bits that addresses on the cable have in common."""
        return 64 if self.underlay == 6 else 24

    @property
    def inner_prefix(self) -> int:
        """The same of what is in the tunnel, on both hosts."""
        return 48 if self.inner == 6 else 16

    def has_ipv6(self, role: str) -> bool:
        """Whether a device in that namespace has an IPv6 address: elsewhere IPv6 is off."""
        outside = role in ("wire", "host") and self.underlay == 6
        ends = [each.role for each in self.containers] or ["host"]
        return outside or (role in ends and self.inner == 6)

    @property
    def overlay_role(self) -> str:
        """The namespace of the tunnel, and of the bridge: Docker keeps one for each network."""
        return "overlay" if self.case == "docker" else "host"

    @property
    def containers(self) -> tuple[Container, ...]:
        """Those behind the tunnel."""
        numbers = range(self.count if self.has_containers else 0)
        return tuple(
            Container(f"c{at}", f"02:00:00:00:02:{at + 1:02x}", self._address(at + 1), f"veth{at}")
            for at in numbers
        )

    def _address(self, number: int) -> str:
        return _INSIDE[self.inner] + (f"{number:x}" if self.inner == 6 else f"{number}")

    @property
    def receiver(self) -> tuple[str, str]:
        """MAC and IP address of the first sink: for whom the wire's frames are."""
        if self.has_containers:
            first = self.containers[0]
            return first.mac, first.ip
        return (self.tunnel_mac, self.host_ip) if self.has_tunnel else (self.nic_mac, self.nic_ip)

    @property
    def sender(self) -> str:
        """IP address that the wire's packets are from, the inner ones where there is a tunnel."""
        return self.peer_ip if self.has_tunnel else self.wire_ip

    @property
    def roles(self) -> tuple[str, ...]:
        """One namespace each; the wire's first."""
        overlay = ("overlay",) if self.case == "docker" else ()
        return ("wire", "host", *overlay, *(each.role for each in self.containers))
