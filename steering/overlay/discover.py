"""Finds the overlay behind a NIC: which tunnels end here, and which container has which MAC.

A VXLAN device belongs to the namespace that its packets come through (its *underlay*), even when
it was moved elsewhere; Docker makes it beside the NIC and moves it into a namespace of its own.
The kernel says so by a namespace id (IFLA_LINK_NETNSID) that counts in the device's namespace.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from steering.closing import Closing
from steering.errors import BadInput, OversprayError
from steering.netns import Namespace
from steering.overlay.model import Endpoint, Overlay, Tunnel, is_unicast, unambiguous
from steering.overlay.namespaces import HeldNamespace, Namespaces
from steering.overlay.view import EVERYTHING, NEVER_MOVES, NOTHING, Link, View, read_view, resolve

Views = Mapping[HeldNamespace, View]
Resolver = Callable[[HeldNamespace, int | None], HeldNamespace | None]
"""(a namespace, an id in it or None for itself) -> the namespace meant, if it is known."""


@contextmanager
def discovered(netns: Namespace, nic: str) -> Iterator[Overlay]:
    """The overlay behind a NIC as it is now; its namespaces are open until the block ends.

    ``netns`` is the NIC's namespace: a name, a path, a process id, or None for the thread's own.

    Raises:
        BadInput: no such device.
        OversprayError: no such namespace, or no right to look (root is needed).
    """
    with Discovery(netns, nic) as discovery:
        discovery.rescan()
        overlay = discovery.overlay()
        discovery.let_go_of_others(overlay.namespaces)
        yield overlay


class Discovery(Closing):
    """Facts of all namespaces, read once and brought up to date in parts; a context manager."""

    def __init__(self, netns: Namespace, nic: str) -> None:
        """Nothing is read yet but which namespace is meant."""
        self._namespaces = Namespaces()
        self._views: dict[HeldNamespace, View] = {}
        self._nic = nic
        self._nic_ns = self._namespaces.get(netns)

    def close(self) -> None:
        """Let go of all namespaces."""
        self._namespaces.close()

    def let_go_of_others(self, wanted: frozenset[HeldNamespace]) -> None:
        """Hold on to these only: who looks once must not keep the rest of the host's alive."""
        self._namespaces.keep(wanted)
        self._views = {ns: view for ns, view in self._views.items() if ns in wanted}

    def rescan(
        self, before_reading: Callable[[HeldNamespace], None] = lambda ns: None
    ) -> tuple[list[HeldNamespace], list[HeldNamespace]]:
        """Look for namespaces and read the new ones. Returns those that came, those that went.

        ``before_reading`` is called with each new one: who subscribes to its changes there misses
        none.
        """
        fresh, gone = self._namespaces.scan()
        for ns in gone:
            self._views.pop(ns, None)
        came = [ns for ns in dict.fromkeys((self._nic_ns, *fresh)) if ns not in self._views]
        for ns in came:
            before_reading(ns)
            self.reread(ns, EVERYTHING)
        return came, gone

    def reread(self, ns: HeldNamespace, parts: int) -> None:
        """Read some parts (a mask of ``view``'s constants) of one namespace again."""
        try:
            self._views[ns] = read_view(ns, self._views.get(ns, NOTHING), parts)
        except OversprayError:
            # Not ours to enter (another user namespace), or ending: then nothing in it counts.
            if ns == self._nic_ns:
                raise
            self._views[ns] = NOTHING

    def overlay(self) -> Overlay:
        """What the facts add up to.

        Raises:
            BadInput: the NIC is not there (any more).
        """
        known: dict[HeldNamespace, dict[int, HeldNamespace]] = {}

        def resolver(ns: HeldNamespace, nsid: int | None) -> HeldNamespace | None:
            if nsid is None:
                return ns
            if ns not in known:
                known[ns] = resolve(ns, self._namespaces)
            return known[ns].get(nsid)

        return assemble(self._views, resolver, self._nic_ns, self._nic)


def assemble(views: Views, resolver: Resolver, nic_ns: HeldNamespace, nic: str) -> Overlay:
    """The overlay behind ``nic`` that the views of all namespaces show.

    Raises:
        BadInput: ``nic`` is not among the devices of its namespace.
    """
    home = views[nic_ns]
    device = home.named(nic)
    if device is None:
        raise BadInput(f"no device '{nic}' in network namespace '{nic_ns}'")
    reach = _with_masters(home, device)
    local_ips = _addresses(home, reach)
    loopback = _addresses(home, (link.index for link in home.links.values() if link.loopback))
    found = [
        (ns, link)
        for ns, view in views.items()
        for link in view.links.values()
        if _receives(link, reach, local_ips | loopback) and resolver(ns, link.peer_nsid) == nic_ns
    ]
    ends = [end for ns, link in found for end in _endpoints(views, resolver, ns, link)]
    return Overlay(
        nic=nic,
        nic_ns=nic_ns,
        nic_ifindex=device.index,
        nic_mac=device.mac,
        local_ips=local_ips,
        tunnels=frozenset(_tunnel(views[ns], ns, link) for ns, link in found),
        endpoints=unambiguous(ends),
    )


def _with_masters(view: View, link: Link) -> set[int]:
    """A device and the bond or bridge it is part of, which has the addresses then."""
    indices = {link.index}
    while link.master in view.links and link.master not in indices:
        link = view.links[link.master]
        indices.add(link.index)
    return indices


def _addresses(view: View, indices: Iterable[int]) -> frozenset[str]:
    return frozenset(ip for index in indices for ip in view.addresses.get(index, ()))


def _receives(link: Link, reach: set[int], addresses: frozenset[str]) -> bool:
    """Whether a device is a VXLAN tunnel that takes packets arriving at the NIC."""
    vxlan = link.vxlan
    return (
        vxlan is not None
        and vxlan.plain
        and link.up
        and (not vxlan.link or vxlan.link in reach)
        and (vxlan.local is None or vxlan.local in addresses)
    )


def _tunnel(view: View, ns: HeldNamespace, link: Link) -> Tunnel:
    vxlan = link.vxlan
    assert vxlan is not None
    behind = {
        (entry.mac, entry.dst)
        for entry in view.entries
        if entry.ifindex == link.index and entry.dst is not None and is_unicast(entry.dst)
    }
    remotes = {vtep for _, vtep in behind}
    fixed = {
        (entry.mac, entry.dst)
        for entry in view.entries
        if vxlan.learning and entry.ifindex == link.index and entry.state & NEVER_MOVES
    }
    if vxlan.default_remote is not None and is_unicast(vxlan.default_remote):
        remotes.add(vxlan.default_remote)
    master = view.links.get(link.master)
    bridge = master if master is not None and master.bridge else None
    ages = [float(vxlan.ageing if vxlan.learning else 0)]
    if bridge is not None and bridge.bridge is not None:
        ages.append(bridge.bridge.ageing)
    return Tunnel(
        vni=vxlan.vni,
        port=vxlan.port,
        local=vxlan.local,
        ns=ns,
        device=link.name,
        ifindex=link.index,
        remotes=frozenset(remotes),
        learning=vxlan.learning,
        remote_macs=frozenset((mac, vtep) for mac, vtep in behind if _is_one_host(mac)),
        fixed_macs=frozenset((mac, vtep) for mac, vtep in behind & fixed if _is_one_host(mac)),
        bridge=bridge.name if bridge else None,
        bridge_ifindex=bridge.index if bridge else 0,
        ageing=min((age for age in ages if age), default=0),
        zero_checksum6=vxlan.zero_checksum6,
    )


def _is_one_host(mac: str) -> bool:
    """Neither the zero MAC (all unknown destinations) nor a group's."""
    return mac != "00:00:00:00:00:00" and not int(mac[:2], 16) & 1


def _endpoints(
    views: Views, resolver: Resolver, ns: HeldNamespace, tunnel: Link
) -> Iterator[Endpoint]:
    """What can be reached behind a tunnel without asking anybody but its bridge."""
    view = views[ns]
    if not tunnel.master:
        yield _endpoint(tunnel, ns, tunnel, ns, tunnel, view)
        return
    bridge = view.links.get(tunnel.master)
    # Which VLAN a port is in is the bridge's business: such a bridge is left to the stock stack.
    if bridge is None or bridge.bridge is None or bridge.bridge.vlan_filtering or not bridge.up:
        return
    for port in view.links.values():
        if not _joined(tunnel, port) or port.kind != "veth":
            continue
        other_ns = resolver(ns, port.peer_nsid)
        if other_ns is None or other_ns not in views:
            continue
        other = views[other_ns].links.get(port.peer)
        # An end that is part of something else again only leads there: it ends nothing.
        if other is not None and other.up and not other.master:
            yield _endpoint(tunnel, ns, port, other_ns, other, views[other_ns])


def _joined(tunnel: Link, port: Link) -> bool:
    """Whether a bridge forwards from the tunnel to that port."""
    if tunnel.port is None or port.port is None or port.master != tunnel.master:
        return False
    both = tunnel.port.forwarding and port.port.forwarding
    return both and not (tunnel.port.isolated and port.port.isolated)


def _endpoint(
    tunnel: Link, host_ns: HeldNamespace, host: Link, ns: HeldNamespace, link: Link, view: View
) -> Endpoint:
    assert tunnel.vxlan is not None
    return Endpoint(
        vni=tunnel.vxlan.vni,
        mac=link.mac,
        host_ns=host_ns,
        host_device=host.name,
        host_ifindex=host.index,
        ns=ns,
        device=link.name,
        ifindex=link.index,
        rx_queues=link.rx_queues,
        ips=view.addresses.get(link.index, frozenset()),
        kind="tunnel" if link is tunnel else "veth",
        port=tunnel.vxlan.port,
    )
