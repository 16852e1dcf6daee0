"""What one namespace says of its links, addresses and forwarding entries, as plain facts."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from pyroute2.netlink.rtnl import RTM_GETADDR, RTM_GETLINK, RTM_GETNEIGH, RTM_GETNSID
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import NUD_NOARP, NUD_PERMANENT, ndmsg
from pyroute2.netlink.rtnl.nsidmsg import nsidmsg

from steering.overlay.namespaces import HeldNamespace
from steering.overlay.netlink import Netlink

LINKS, ADDRESSES, ENTRIES = 1, 2, 4
"""Parts of a view, as a bit mask."""
EVERYTHING = LINKS | ADDRESSES | ENTRIES

AF_BRIDGE = 7
NEVER_MOVES = NUD_PERMANENT | NUD_NOARP
"""States of a static entry: it neither ages nor follows its MAC to elsewhere."""
_IFF_UP = 1
_IFF_LOOPBACK = 8
_SKIP_STATISTICS = 1 << 3
_FORWARDING = 3


@dataclass(frozen=True)
class Vxlan:
    """Settings of a VXLAN device. ``ageing`` in seconds, 0: entries never age."""

    vni: int
    port: int
    local: str | None
    link: int
    default_remote: str | None
    learning: bool
    ageing: int
    zero_checksum6: bool
    plain: bool
    """One VNI and the header of RFC 7348: no metadata mode, no other encapsulation."""


@dataclass(frozen=True)
class Bridge:
    """Settings of a bridge. ``ageing`` in seconds, 0: entries never age."""

    ageing: float
    vlan_filtering: bool
    calls_iptables: bool


@dataclass(frozen=True)
class Port:
    """How a device takes part in its bridge."""

    forwarding: bool
    isolated: bool
    learning: bool


@dataclass(frozen=True)
class Link:
    """A device. ``peer`` is what it hangs on (a veth's other end), in the namespace with the id
    ``peer_nsid`` as seen from here, or here where that is None."""

    index: int
    name: str
    kind: str
    mac: str
    up: bool
    loopback: bool
    master: int
    peer: int
    peer_nsid: int | None
    rx_queues: int
    qdisc: str
    xdp: bool
    vxlan: Vxlan | None = None
    bridge: Bridge | None = None
    port: Port | None = None


@dataclass(frozen=True)
class Entry:
    """A forwarding entry: of a bridge (``master`` is set), or of a tunnel device (``dst``)."""

    ifindex: int
    mac: str
    master: int
    dst: str | None
    state: int
    flags: int
    vlan: int


@dataclass(frozen=True)
class View:
    """A namespace at a moment. Entries are read only where there is a VXLAN device."""

    links: dict[int, Link]
    addresses: dict[int, frozenset[str]]
    entries: tuple[Entry, ...]

    def named(self, name: str) -> Link | None:
        """The device of that name."""
        return next((link for link in self.links.values() if link.name == name), None)


NOTHING = View({}, {}, ())


def read_view(ns: HeldNamespace, old: View = NOTHING, parts: int = EVERYTHING) -> View:
    """The namespace as it is; only ``parts`` are asked for, the rest is taken from ``old``."""
    view = old
    with Netlink(ns) as netlink:
        if parts & LINKS:
            view = replace(view, links=read_links(netlink))
        if parts & ADDRESSES:
            view = replace(view, addresses=_read_addresses(netlink))
        if parts & (LINKS | ENTRIES):
            tunnels = any(link.vxlan for link in view.links.values())
            view = replace(view, entries=read_entries(netlink) if tunnels else ())
    return view


def read_links(netlink: Netlink) -> dict[int, Link]:
    """All devices of a namespace by index."""
    request = ifinfmsg()
    request["attrs"] = [("IFLA_EXT_MASK", _SKIP_STATISTICS)]
    links = (parse_link(message) for message in netlink.dump(RTM_GETLINK, request))
    return {link.index: link for link in links}


def read_entries(netlink: Netlink) -> tuple[Entry, ...]:
    """All forwarding entries of a namespace's bridges and tunnel devices."""
    request = ndmsg()
    request["family"] = AF_BRIDGE
    found = (parse_entry(message) for message in netlink.dump(RTM_GETNEIGH, request))
    return tuple(entry for entry in found if entry is not None)


def _read_addresses(netlink: Netlink) -> dict[int, frozenset[str]]:
    found: dict[int, set[str]] = {}
    for message in netlink.dump(RTM_GETADDR, ifaddrmsg()):
        # On a point-to-point link IFA_ADDRESS is the other end; ours is IFA_LOCAL.
        address = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
        found.setdefault(message["index"], set()).add(address)
    return {index: frozenset(addresses) for index, addresses in found.items()}


def resolve(ns: HeldNamespace, others: Iterable[HeldNamespace]) -> dict[int, HeldNamespace]:
    """Which of the others have an id in ``ns``, by that id (RTM_GETNSID)."""
    found = {}
    with Netlink(ns) as netlink:
        for other in others:
            request = nsidmsg()
            request["attrs"] = [("NETNSA_FD", other.fd)]
            for answer in netlink.ask(RTM_GETNSID, request):
                nsid = answer.get_attr("NETNSA_NSID")
                if nsid is not None and nsid < 1 << 31:  # -1: it has none
                    found[nsid] = other
    return found


def parse_link(message: Any) -> Link:
    """An RTM_NEWLINK message as facts."""
    info = message.get_attr("IFLA_LINKINFO")
    kind = (info and info.get_attr("IFLA_INFO_KIND")) or ""
    data = info and info.get_attr("IFLA_INFO_DATA")
    port = info and info.get_attr("IFLA_INFO_SLAVE_DATA")
    in_bridge = port and info.get_attr("IFLA_INFO_SLAVE_KIND") == "bridge"
    xdp = message.get_attr("IFLA_XDP")
    return Link(
        index=message["index"],
        name=message.get_attr("IFLA_IFNAME"),
        kind=kind,
        mac=message.get_attr("IFLA_ADDRESS") or "",
        up=bool(message["flags"] & _IFF_UP),
        loopback=bool(message["flags"] & _IFF_LOOPBACK),
        master=message.get_attr("IFLA_MASTER") or 0,
        peer=message.get_attr("IFLA_LINK") or 0,
        peer_nsid=message.get_attr("IFLA_LINK_NETNSID"),
        rx_queues=message.get_attr("IFLA_NUM_RX_QUEUES") or 1,
        qdisc=message.get_attr("IFLA_QDISC") or "",
        xdp=bool(xdp and xdp.get_attr("IFLA_XDP_ATTACHED")),
        vxlan=_parse_vxlan(data) if kind == "vxlan" and data else None,
        bridge=_parse_bridge(data) if kind == "bridge" and data else None,
        port=_parse_port(port) if in_bridge else None,
    )


def _parse_vxlan(data: Any) -> Vxlan:
    odd = ("IFLA_VXLAN_GPE", "IFLA_VXLAN_COLLECT_METADATA")
    return Vxlan(
        vni=data.get_attr("IFLA_VXLAN_ID") or 0,
        port=data.get_attr("IFLA_VXLAN_PORT") or 0,
        local=data.get_attr("IFLA_VXLAN_LOCAL") or data.get_attr("IFLA_VXLAN_LOCAL6"),
        link=data.get_attr("IFLA_VXLAN_LINK") or 0,
        default_remote=data.get_attr("IFLA_VXLAN_GROUP") or data.get_attr("IFLA_VXLAN_GROUP6"),
        learning=bool(data.get_attr("IFLA_VXLAN_LEARNING")),
        ageing=data.get_attr("IFLA_VXLAN_AGEING") or 0,
        zero_checksum6=bool(data.get_attr("IFLA_VXLAN_UDP_ZERO_CSUM6_RX")),
        plain=not any(data.get_attr(name) for name in odd),
    )


def _parse_bridge(data: Any) -> Bridge:
    return Bridge(
        ageing=(data.get_attr("IFLA_BR_AGEING_TIME") or 0) / 100,  # in USER_HZ
        vlan_filtering=bool(data.get_attr("IFLA_BR_VLAN_FILTERING")),
        calls_iptables=any(
            data.get_attr(f"IFLA_BR_NF_CALL_{what}") for what in ("IPTABLES", "IP6TABLES")
        ),
    )


def _parse_port(data: Any) -> Port:
    return Port(
        forwarding=data.get_attr("IFLA_BRPORT_STATE") == _FORWARDING,
        isolated=bool(data.get_attr("IFLA_BRPORT_ISOLATED")),
        learning=bool(data.get_attr("IFLA_BRPORT_LEARNING")),
    )


def parse_entry(message: Any) -> Entry | None:
    """A forwarding entry as facts; None for an entry without a MAC (a multicast group's)."""
    mac = message.get_attr("NDA_LLADDR")
    if mac is None:
        return None
    return Entry(
        ifindex=message["ifindex"],
        mac=mac,
        master=message.get_attr("NDA_MASTER") or 0,
        dst=message.get_attr("NDA_DST"),
        state=message["state"],
        flags=message["flags"],
        vlan=message.get_attr("NDA_VLAN") or 0,
    )
