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
    host_index: int
    """ifindex of the other end, on the bridge in the tunnel's namespace."""
    mtu: int
    """Larger packets the bridge drops: they are left to it."""


@dataclass(frozen=True)
class Tunnel:
    """A VXLAN device, and who is behind it. Its addresses are text, all of one IP version."""

    place: Place
    mac: str
    vni: int
    port: int
    local: str
    """Our VTEP."""
    remotes: tuple[str, ...]
    """The VTEPs that may send to us."""
    endpoints: tuple[Endpoint, ...] = ()
    zero_checksum: bool = False
    """Over IPv6: whether it takes packets without an outer UDP checksum (udp6zerocsumrx)."""


@dataclass(frozen=True)
class Target:
    """Receive paths that begin at one NIC. Without a tunnel there is nothing that a policy could steer."""

    nic: Place
    nic_index: int
    nic_mac: str
    tunnels: tuple[Tunnel, ...] = ()

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The containers behind all tunnels."""
        return tuple(end for tunnel in self.tunnels for end in tunnel.endpoints)
