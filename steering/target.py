"""What is steered: the devices on an overlay's receive path, and what a frame must show to be proven ours."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """A device, by the name of its network namespace (`steering.netns`) and its own."""

    ns: str
    device: str


@dataclass(frozen=True)
class Endpoint:
    """A container behind the tunnel."""

    mac: str
    own: Place
    """Its end of the veth."""
    host_ns: str
    """The namespace that holds the other end, on the bridge."""
    host_index: int
    """ifindex of that other end, there."""
    mtu: int
    """Larger packets the bridge drops: they are left to it."""


@dataclass(frozen=True)
class Tunnel:
    """A VXLAN device. Its addresses are text, all of one IP version."""

    place: Place
    mac: str
    vni: int
    port: int
    local: str
    """Our VTEP."""
    remotes: tuple[str, ...]
    """The VTEPs that may send to us."""
    zero_checksum: bool = False
    """Over IPv6: whether it takes packets without an outer UDP checksum (udp6zerocsumrx)."""


@dataclass(frozen=True)
class Target:
    """A receive path, NIC first. Without a tunnel there is nothing that a policy could steer."""

    nic: Place
    nic_index: int
    nic_mac: str
    tunnel: Tunnel | None = None
    endpoints: tuple[Endpoint, ...] = ()
