"""What discovery finds: namespaces, devices, overlays; and what follows from that, without asking the kernel.

`steering.discover` reads each namespace into a :class:`View`; everything else here is made of views alone.
An index is an ifindex, which is one device's only within one namespace.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath

NO_MAC = "00:00:00:00:00:00"
"""Of a forwarding entry: where to send what no other entry is for."""
BRIDGE, VXLAN, VETH = "bridge", "vxlan", "veth"
_ROOT = re.compile(r"/proc/\d+/root(?=/)")
"""The way into another mount namespace."""
STACKED = ("vlan", "macvlan", "ipvlan", "macvtap", "ipvtap")
"""Kinds of devices that stand on one other device."""
COLLECTING = ("bond", "team", BRIDGE)
"""Kinds of devices that take what comes in through their members."""


@dataclass(frozen=True)
class Namespace:
    """A network namespace; ``inode`` is the number by which the kernel tells it from others."""

    inode: int
    path: str
    """Opens it, for this process."""
    name: str = ""
    """In /run/netns, if it has one: for ``ip netns`` and `steering.netns`."""
    pid: int | None = None
    """One process that is in it, the oldest; None: nobody is."""

    @property
    def label(self) -> str:
        """For people: its name, else the name of the file that holds it, else a process in it."""
        if self.name:
            return self.name
        path = _ROOT.sub("", self.path)
        if not path.startswith("/proc/"):
            return "/".join(PurePath(path).parts[-3:])  # such as docker/netns/1-x4sm9
        return f"process {self.pid}" if self.pid else f"net:[{self.inode}]"

    def __str__(self) -> str:
        return printable(self.label)


@dataclass(frozen=True)
class Vxlan:
    """What a VXLAN device has been told. Addresses are text, ``""`` where none was given."""

    vni: int
    port: int
    """UDP, in the order of bytes that people read."""
    local: str = ""
    group: str = ""
    """Where to send what no forwarding entry is for; may be a multicast group."""
    lower: int = 0
    """Index of the underlay's device in the namespace of the tunnel's socket; 0: routes decide."""
    learning: bool = False
    zero_checksum: bool = False
    """Over IPv6: whether it takes packets without an outer UDP checksum."""
    external: bool = False
    """Whether each packet's metadata says VNI and VTEP, not the device."""


@dataclass(frozen=True)
class Link:
    """A device, as one namespace has it."""

    index: int
    name: str
    kind: str = ""
    """As ``ip link add type`` has it; ``""``: hardware, or the loopback device."""
    mac: str = ""
    mtu: int = 0
    """Bytes of an IP packet."""
    master: int = 0
    """Index of the bridge or bond that it belongs to; 0: none."""
    lower: int = 0
    """Index of the device below, or of a veth's other end; 0: none."""
    lower_nsid: int | None = None
    """That one's namespace, by the number that this namespace knows it by; None: this one."""
    rx_queues: int = 0
    active_rx_queues: int | None = None
    """None: not asked, or the driver does not tell."""
    gro: bool | None = None
    addresses: tuple[str, ...] = ()
    """With their prefix lengths."""
    xdp: str = ""
    """Modes in which it has XDP programs: native, generic, offloaded."""
    loopback: bool = False
    down: bool = False
    """Whether somebody has yet to set it up."""
    netfilter: bool = False
    """Of a bridge: whether it calls netfilter, whatever its namespace says (``nf_call_iptables``)."""
    vlan_filtering: bool = False
    vxlan: Vxlan | None = None


@dataclass(frozen=True, order=True)
class Forward:
    """A tunnel's forwarding entry: who is behind which VTEP."""

    mac: str
    remote: str
    """``""``: the entry goes by next-hop group, and names no VTEP."""
    permanent: bool = False
    """Whether it was put there, and does not age."""


@dataclass(frozen=True)
class Route:
    """How this namespace would send to a VTEP."""

    index: int
    source: str = ""


@dataclass(frozen=True)
class View:
    """What one namespace shows; all but ``links`` is asked for only where it matters."""

    space: Namespace
    links: Mapping[int, Link]
    """By index."""
    nsids: Mapping[int, int] = field(default_factory=dict)
    """The numbers that it knows other namespaces by -> their inodes."""
    forwards: Mapping[int, tuple[Forward, ...]] = field(default_factory=dict)
    """By the tunnel's index."""
    routes: Mapping[str, Route] = field(default_factory=dict)
    """By VTEP."""
    netfilter: tuple[str, ...] = ()
    """Those of bridge-nf-call-{arp,ip,ip6}tables that are on."""
    tables: tuple[str, ...] = ()
    """Of packet filters, of any kind (`steering.rules`)."""
    tc: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """What tc has on a tunnel, by its index."""
    ipsec: frozenset[str] = frozenset()
    """Both ends of all IPsec states and policies."""


@dataclass(frozen=True)
class Device:
    """A device and where it is; fields as :class:`Link` has them."""

    namespace: Namespace
    index: int
    name: str
    kind: str
    mac: str
    mtu: int
    addresses: tuple[str, ...]
    rx_queues: int
    active_rx_queues: int | None
    gro: bool | None
    xdp: str

    def __str__(self) -> str:
        return f"{printable(self.name)} of {self.namespace}"


@dataclass(frozen=True)
class Port:
    """A port of the overlay's bridge, the tunnel apart."""

    index: int
    name: str
    kind: str
    peer: Device | None
    """A veth's other end: a container's, as a rule. None: no veth, or in a namespace out of reach."""


@dataclass(frozen=True)
class Overlay:
    """A VXLAN device with what is before and behind it."""

    device: Device
    vni: int
    port: int
    """UDP."""
    local: str
    """Our VTEP; ``""`` where neither the device nor a route says which."""
    bound: bool
    """Whether the device takes only what is for ``local``; else what is for any address of that namespace."""
    learning: bool
    zero_checksum: bool
    underlay_namespace: Namespace | None
    """Where the tunnel's socket is; None: out of reach."""
    underlay: tuple[Device, ...]
    """What its frames come in through, by its own word or that of routes; empty: neither says anything."""
    nics: tuple[Device, ...]
    """The NICs below: the same, unless a VLAN, bond or bridge lies between."""
    remotes: tuple[str, ...]
    """VTEPs of forwarding entries, sorted."""
    forwards: tuple[Forward, ...]
    bridge: Device | None
    """None: its packets are the tunnel's own namespace's, or routed there."""
    ports: tuple[Port, ...]
    remarks: tuple[str, ...]
    """What lies in the way, or would be skipped; one sentence each."""
    skipped: tuple[str, ...] = ()
    """Those of them that speak of rules which packets past bridge and tunnel would skip."""


@dataclass(frozen=True)
class Inventory:
    """What was found on this host."""

    own: Namespace
    """The caller's, in which it names devices."""
    views: Mapping[int, View]
    """By the namespace's inode."""
    overlays: tuple[Overlay, ...]
    remarks: tuple[str, ...] = ()
    """What could not be looked at."""


def device(view: View, link: Link) -> Device:
    """A link, with its namespace."""
    shared = (link.index, link.name, link.kind, link.mac, link.mtu, link.addresses, link.rx_queues)
    return Device(view.space, *shared, link.active_rx_queues, link.gro, link.xdp)


def printable(text: str) -> str:
    """Names are chosen by whoever is in a container: nothing of them is to steer a terminal."""
    return "".join(each if each.isprintable() else "?" for each in text)


def elsewhere(views: Mapping[int, View], view: View, nsid: int | None) -> View | None:
    """The view that ``view`` means by that number, itself by None; None where that is out of reach."""
    return view if nsid is None else views.get(view.nsids.get(nsid, 0))


def below(views: Mapping[int, View], view: View, index: int) -> tuple[tuple[View, Link], ...]:
    """The NICs through which a device gets its frames, the device itself where it is one.

    VLANs and the like stand on one device, which may be in another of ``views`` (by inode); bonds and
    bridges have members.
    """
    found: dict[tuple[int, int], tuple[View, Link]] = {}
    seen: set[tuple[int, int]] = set()

    def visit(at: View | None, number: int) -> None:
        if at is None or number not in at.links or (at.space.inode, number) in seen:
            return
        seen.add((at.space.inode, number))
        link = at.links[number]
        lower = elsewhere(views, at, link.lower_nsid)
        if link.kind in STACKED and lower:
            visit(lower, link.lower)
        elif link.kind in COLLECTING:
            for member in _members(at, link):
                visit(at, member)
        elif link.kind != VXLAN and not link.loopback:
            found[at.space.inode, number] = (at, link)

    visit(view, index)
    return tuple(found.values())


def _members(view: View, link: Link) -> list[int]:
    """Of a bridge, those that lead outside, if there are such."""
    members = [each for each in view.links.values() if each.master == link.index]
    outside = [each for each in members if each.kind not in (VETH, VXLAN, "tun")]
    return [each.index for each in (outside if link.kind == BRIDGE and outside else members)]
