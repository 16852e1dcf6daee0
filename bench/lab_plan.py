"""What a lab consists of, worked out from its case alone: namespaces, devices, addresses. Changes nothing."""

from dataclasses import dataclass, field

from steering import cores
from steering.errors import BadInput, unknown

CASES = ("native", "flannel", "docker")
MOST_CONTAINERS = 80
VXLAN_PORT = 4789
IP_VERSIONS = (4, 6)
_OUTSIDE = {4: "198.18.0.", 6: "2001:2::"}
"""RFC 2544's range for benchmarks, and RFC 5180's."""
_CONTAINERS = {4: "10.77.1.", 6: "2001:db8:77:1::"}
_OTHERS = {4: "10.77.2.", 6: "2001:db8:77:2::"}
"""Containers of the other host: private, and RFC 3849's range for documents."""


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
    mtu: int = 1600
    queues: int = field(default_factory=lambda: len(cores.online()))
    tunnel: str = "vxlan0"
    tunnel_mac: str = "02:00:00:00:01:02"
    bridge: str = "br0"
    vni: int = 42
    port: int = VXLAN_PORT
    peer_mac: str = "02:00:00:00:01:01"
    peer_ip: str = field(init=False)
    inner_mtu: int = 1500

    def __post_init__(self) -> None:
        if self.case not in CASES:
            raise unknown("case", self.case, CASES)
        if not 1 <= self.count <= MOST_CONTAINERS:
            raise BadInput(f"{self.count} containers: choose from 1 to {MOST_CONTAINERS}")
        if self.case == "native" and self.count != 1:
            raise BadInput("case 'native' has no containers: leave their number out")
        for where, version in (("", self.inner), ("outer ", self.outer)):
            if version not in IP_VERSIONS:
                raise BadInput(f"{where}IP version {version}: choose 4 or 6")
        if not self.has_overlay and self.outer != 4:
            raise BadInput(f"case '{self.case}' has no tunnel: leave the outer IP version out")
        for name, ip in (
            ("wire_ip", f"{_OUTSIDE[self.underlay]}1"),
            ("nic_ip", f"{_OUTSIDE[self.underlay]}2"),
            ("peer_ip", f"{_OTHERS[self.inner]}1"),
        ):
            object.__setattr__(self, name, ip)

    @property
    def has_overlay(self) -> bool:
        """Whether there are a tunnel, a bridge and containers."""
        return self.case != "native"

    @property
    def underlay(self) -> int:
        """IP version on the cable."""
        return self.outer if self.has_overlay else self.inner

    @property
    def prefix(self) -> int:
        """Bits that addresses on the cable have in common."""
        return 64 if self.underlay == 6 else 24

    @property
    def inner_prefix(self) -> int:
        """The same of the containers on both hosts."""
        return 48 if self.inner == 6 else 16

    def has_ipv6(self, role: str) -> bool:
        """Whether a device in that namespace has an IPv6 address: elsewhere IPv6 is off."""
        if role == "wire" or (role == "host" and self.containers):
            return self.underlay == 6
        return role != "overlay" and self.inner == 6

    @property
    def overlay_role(self) -> str:
        """The namespace of tunnel and bridge: Docker keeps one for each network."""
        return "overlay" if self.case == "docker" else "host"

    @property
    def containers(self) -> tuple[Container, ...]:
        """Those behind the tunnel."""
        numbers = range(self.count if self.has_overlay else 0)
        return tuple(
            Container(f"c{at}", f"02:00:00:00:02:{at + 1:02x}", self._address(at + 1), f"veth{at}")
            for at in numbers
        )

    def _address(self, number: int) -> str:
        return _CONTAINERS[self.inner] + (f"{number:x}" if self.inner == 6 else f"{number}")

    @property
    def roles(self) -> tuple[str, ...]:
        """One namespace each; the wire's first."""
        overlay = ("overlay",) if self.case == "docker" else ()
        return ("wire", "host", *overlay, *(each.role for each in self.containers))
