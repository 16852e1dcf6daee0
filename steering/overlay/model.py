"""A snapshot of an overlay. Compared by value: the difference of two snapshots is the update."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Literal

from steering.overlay.namespaces import HeldNamespace

Kind = Literal["veth", "tunnel"]


@dataclass(frozen=True)
class Tunnel:
    """A VXLAN device whose outer packets pass through the NIC's namespace.

    The device itself is in ``ns``, which in a Docker network is a hidden one. ``ageing`` is the
    time in seconds after which a forwarding entry that sees no packet is dropped, by the device
    or its bridge, whichever is sooner; 0: never.
    """

    vni: int
    port: int
    local: str | None
    """The VTEP's own address; None: any address of the NIC."""
    ns: HeldNamespace
    device: str
    ifindex: int
    remotes: frozenset[str]
    """Known remote VTEPs: the default one and those of the device's forwarding entries."""
    learning: bool
    remote_macs: frozenset[tuple[str, str]]
    """(inner MAC, its VTEP) as the device knows them."""
    fixed_macs: frozenset[tuple[str, str]] = frozenset()
    """Those of them that the device takes from nowhere else: static entries of one that learns."""
    bridge: str | None = None
    bridge_ifindex: int = 0
    ageing: float = 0
    zero_checksum6: bool = False
    """Takes outer IPv6 packets without a UDP checksum; otherwise stock drops them (RFC 6935)."""


@dataclass(frozen=True)
class Endpoint:
    """Where the frames of a VNI for one MAC go.

    Kind ``veth``: ``device`` is the container's end, ``host_device`` the bridge port on the
    tunnel's side. Kind ``tunnel``: the VXLAN device carries the address itself, and the host's
    end is that device too. ``rx_queues`` is how many receive queues the device was made with
    (how many are active is ethtool's business).
    """

    vni: int
    mac: str
    host_ns: HeldNamespace
    host_device: str
    host_ifindex: int
    ns: HeldNamespace
    device: str
    ifindex: int
    rx_queues: int
    ips: frozenset[str] = field(compare=False)
    """For people: how to reach it does not depend on them, so another one is no change."""
    kind: Kind = "veth"
    port: int = 0
    """UDP port of the tunnel: two networks of one VNI may differ by it."""


@dataclass(frozen=True)
class Overlay:
    """All tunnels and endpoints that packets arriving at one NIC can be for."""

    nic: str
    nic_ns: HeldNamespace
    nic_ifindex: int
    nic_mac: str
    local_ips: frozenset[str]
    tunnels: frozenset[Tunnel]
    endpoints: frozenset[Endpoint]

    @property
    def paths(self) -> frozenset[tuple[int, str, str]]:
        """Every (VNI, own VTEP, known remote VTEP): what an outer header may say."""
        return frozenset(
            (tunnel.vni, local, remote)
            for tunnel in self.tunnels
            for local in self.own_addresses(tunnel)
            for remote in tunnel.remotes
            if same_family(local, remote)
        )

    def own_addresses(self, tunnel: Tunnel) -> frozenset[str]:
        """The addresses at which a tunnel receives."""
        return self.local_ips if tunnel.local is None else frozenset({tunnel.local})

    @property
    def namespaces(self) -> frozenset[HeldNamespace]:
        """All namespaces that have a part in it."""
        ends = {ns for end in self.endpoints for ns in (end.ns, end.host_ns)}
        return frozenset({self.nic_ns, *(tunnel.ns for tunnel in self.tunnels), *ends})


def same_family(one: str, other: str) -> bool:
    """Whether two addresses are of the same IP version."""
    return (":" in one) == (":" in other)


def is_unicast(address: str) -> bool:
    """Whether an address stands for one host: neither a group nor unspecified."""
    parsed = ip_address(address)
    return not (parsed.is_multicast or parsed.is_unspecified)


def unambiguous(endpoints: Iterable[Endpoint]) -> frozenset[Endpoint]:
    """Without those that share VNI and MAC: which of them is meant, only the bridge can tell."""
    by_key: dict[tuple[int, str], list[Endpoint]] = {}
    for end in endpoints:
        by_key.setdefault((end.vni, end.mac), []).append(end)
    return frozenset(ends[0] for ends in by_key.values() if len(ends) == 1)
