"""Joins what namespaces show into overlays: what is before and behind each tunnel, and what lies in the way.

Pure functions of `steering.inventory`'s views.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address

from steering.inventory import (
    BRIDGE,
    VETH,
    Device,
    Link,
    Overlay,
    Port,
    View,
    Vxlan,
    below,
    device,
    elsewhere,
    printable,
)


def join(views: Iterable[View]) -> tuple[Overlay, ...]:
    """Every overlay that these views show, by VNI, UDP port and namespace."""
    by_inode = {view.space.inode: view for view in views}
    found = [
        _overlay(by_inode, view, link, link.vxlan)
        for view in by_inode.values()
        for link in view.links.values()
        if link.vxlan
    ]
    return tuple(sorted(found, key=lambda each: (each.vni, each.port, str(each.device))))


def vteps(view: View, link: Link) -> tuple[str, ...]:
    """Remote VTEPs of a tunnel, sorted; no multicast groups."""
    named = {each.remote for each in view.forwards.get(link.index, ())}
    if link.vxlan:
        named.add(link.vxlan.group)
    ips = sorted((ip_address(each) for each in named if each), key=lambda ip: (ip.version, int(ip)))
    return tuple(str(ip) for ip in ips if not ip.is_multicast and not ip.is_unspecified)


def _overlay(views: Mapping[int, View], view: View, link: Link, vxlan: Vxlan) -> Overlay:
    under = elsewhere(views, view, link.lower_nsid)
    remotes = vteps(view, link)
    local = vxlan.local or _source(under, remotes)
    underlay = _underlay(under, vxlan, remotes, local) if under else ()
    lower = [pair for each in underlay for pair in below(views, under, each.index)] if under else []
    nics = tuple(dict.fromkeys(device(at, each) for at, each in lower))
    master = view.links.get(link.master)
    bridge = master if master and master.kind == BRIDGE else None
    ports = tuple(_ports(views, view, link, bridge)) if bridge else ()
    skipped = (*_filtered(view, bridge), *_skipped(view, link, bridge), *_encrypted(under, remotes))
    return Overlay(
        device=device(view, link),
        vni=vxlan.vni,
        port=vxlan.port,
        local=local,
        bound=bool(vxlan.local),
        learning=vxlan.learning,
        zero_checksum=vxlan.zero_checksum,
        underlay_namespace=under.space if under else None,
        underlay=tuple(device(under, each) for each in underlay) if under else (),
        nics=nics,
        remotes=remotes,
        forwards=view.forwards.get(link.index, ()),
        bridge=device(view, bridge) if bridge else None,
        ports=ports,
        remarks=(
            *_unfiltered(view, bridge),
            *skipped,
            *_in_front(under, underlay, nics, remotes),
            *_down(link, bridge, *(each for _, each in lower)),
            *_behind(link, vxlan, bridge, ports),
        ),
        skipped=skipped,
    )


def _source(under: View | None, remotes: Sequence[str]) -> str:
    """The address that the kernel would send from, where all routes agree."""
    routes = under.routes if under else {}
    sources = {routes[each].source for each in remotes if each in routes}
    return sources.pop() if len(sources) == 1 else ""


def _underlay(under: View, vxlan: Vxlan, remotes: Sequence[str], local: str) -> list[Link]:
    """The devices on which the tunnel's frames are to be expected, by index."""
    if vxlan.lower in under.links:
        return [under.links[vxlan.lower]]
    routed = {under.routes[each].index for each in remotes if each in under.routes}
    holders = {
        each.index
        for each in under.links.values()
        if local and local in (address.partition("/")[0] for address in each.addresses)
    }
    found = [under.links[index] for index in sorted(routed or holders) if index in under.links]
    return [each for each in found if not each.loopback]


def _ports(views: Mapping[int, View], view: View, tunnel: Link, bridge: Link) -> Iterator[Port]:
    for port in sorted(view.links.values(), key=lambda each: each.index):
        if port.master != bridge.index or port.index == tunnel.index:
            continue
        other = elsewhere(views, view, port.lower_nsid) if port.kind == VETH else None
        peer = other.links.get(port.lower) if other else None
        # The container may have been replaced between the two readings: an index is used again.
        if peer and (peer.kind != VETH or peer.lower != port.index):
            peer = None
        yield Port(port.index, port.name, port.kind, device(other, peer) if other and peer else None)


def _hooks(view: View, bridge: Link | None) -> str:
    """What has the bridge call netfilter; nothing: it does not."""
    own = (f"nf_call_iptables of {printable(bridge.name)}",) if bridge and bridge.netfilter else ()
    return ", ".join((*view.netfilter, *own)) if bridge else ""


def _filtered(view: View, bridge: Link | None) -> Iterator[str]:
    """Rules of which packets past the bridge know nothing. A family of nftables hooks the bridge itself."""
    if bridge and view.tables and (hooks := _hooks(view, bridge)):
        names = printable(", ".join(view.tables))
        yield f"bridge netfilter is on ({hooks}), with rules in {names}: packets past the bridge skip them"


def _unfiltered(view: View, bridge: Link | None) -> Iterator[str]:
    """The same, of which nothing follows as yet."""
    if (hooks := _hooks(view, bridge)) and not view.tables:
        yield f"bridge netfilter is on ({hooks}): packets past the bridge skip its rules; there are none now"


def _skipped(view: View, tunnel: Link, bridge: Link | None) -> Iterator[str]:
    """What packets that go past tunnel and bridge go past as well."""
    if bridge and bridge.vlan_filtering:
        yield f"bridge {printable(bridge.name)} filters VLANs: packets past it are not filtered"
    if told := view.tc.get(tunnel.index, ()):
        yield f"tc on {printable(tunnel.name)} ({', '.join(told)}): packets past the tunnel device skip it"


def _encrypted(under: View | None, remotes: Sequence[str]) -> Iterator[str]:
    if found := [each for each in remotes if under and each in under.ipsec]:
        yield (
            f"IPsec states or policies for {', '.join(found)}: an overlay with it may be encrypted, and"
            " packets past the stack would skip the check that they were"
        )


def _in_front(
    under: View | None, underlay: Sequence[Link], nics: Sequence[Device], remotes: Sequence[str]
) -> Iterator[str]:
    if under is None:
        yield "the underlay's namespace is out of reach: which NIC is not known"
        return
    if not remotes:
        yield "no remote VTEP is known yet: nobody's packets can be proven ours"
    if not nics:
        yield "neither the device nor a route names a NIC: any of the underlay's namespace may carry it"
    for each in underlay:
        if nics and each.index not in {nic.index for nic in nics if nic.namespace == under.space}:
            below_it = ", ".join(printable(nic.name) for nic in nics)
            yield f"frames come in through the {each.kind} device {printable(each.name)} on {below_it}"
    for nic in nics:
        if nic.xdp:
            yield f"{printable(nic.name)} has an XDP program already ({nic.xdp})"


def _down(*links: Link | None) -> Iterator[str]:
    if names := [printable(each.name) for each in links if each and each.down]:
        yield f"{', '.join(names)}: down, so that nothing comes through"


def _behind(tunnel: Link, vxlan: Vxlan, bridge: Link | None, ports: Sequence[Port]) -> Iterator[str]:
    if vxlan.external:
        yield "each packet's metadata says which VNI it is of (external): the device does not tell them"
    if not bridge:
        yield f"{printable(tunnel.name)} is on no bridge: its own namespace takes its packets, or routes them"
    if missing := [printable(each.name) for each in ports if each.kind == VETH and each.peer is None]:
        yield f"the other end of {', '.join(missing)} is in a namespace out of reach, or gone"
    if others := [
        f"{printable(each.name)} ({each.kind or 'hardware'})" for each in ports if each.kind != VETH
    ]:
        yield f"behind the bridge, but no veth: {', '.join(others)}"
