"""Makes and removes what a lab's plan says: namespaces, devices, addresses, static neighbours.

Everything is known beforehand, so nothing is learned: traffic in one direction needs no ARP, no
neighbour discovery and no bridge learning, though all three work.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import AF_INET6
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from bench.lab_plan import (
    BRIDGE_MAC,
    INNER_PREFIX,
    OUTER_PREFIX,
    PEER_MAC,
    TUNNEL_MAC,
    Endpoint,
    Lab,
    LabSpec,
)
from steering import ethtool, netns
from steering.errors import OversprayError

Progress = Callable[[str, int, int], None]
"""Called with what was made, how many are done, how many there will be."""

GROUP = 0x05F4A9
"""The link group of the lab's devices: a namespace's share of them is removed by one request."""

_LOOPBACK = 1
_NODAD, _PERMANENT, _STATIC = 0x02, 0x80, 0x40
_MASTER = 0x04
_LOCAL_TABLE = 255
_PATIENCE = 5.0
_ANY_MAC = "00:00:00:00:00:00"


def build(lab: Lab, progress: Progress) -> None:
    """Make the lab; every namespace is marked as its own before anything is put into it.

    Raises:
        OversprayError: the kernel refused; what was made so far stays for :func:`demolish`.
    """
    total = len(lab.namespaces)
    for done, name in enumerate(lab.namespaces):
        progress(name, done, total)
        make_namespace(lab.spec, name)
    _make_wire(lab)
    if lab.tunnel_ns is not None:
        _make_wire_tunnel(lab)
        make_tunnel(lab)
    if lab.spec.has_containers:
        make_bridge(lab)
        join_tunnel(lab)
        for end in lab.endpoints:
            make_container(lab, end)
    settle(lab)
    progress("done", total, total)


def demolish(name: str) -> None:
    """Remove one namespace of ours with its devices; no error where there is none."""
    if netns.exists(name):
        with netns.entered(name), IPRoute() as route:
            if any(link.get_attr("IFLA_GROUP") == GROUP for link in route.get_links()):
                route.link("del", group=GROUP)
    netns.remove(name)


def mark_of(spec: LabSpec) -> str:
    """What the loopback device of a lab's namespaces carries as its alias."""
    return f"overspray lab {spec.name} {spec.case}"


def read_mark(name: str) -> str:
    """The mark of a namespace, empty where there is none."""
    with netns.entered(name), IPRoute() as route:
        return route.get_links(_LOOPBACK)[0].get_attr("IFLA_IFALIAS") or ""


def devices_of(name: str) -> set[str]:
    """The names of a namespace's devices."""
    with netns.entered(name), IPRoute() as route:
        return {link.get_attr("IFLA_IFNAME") for link in route.get_links()}


def make_namespace(spec: LabSpec, name: str) -> None:
    """One namespace of the lab, marked, with nothing in it."""
    netns.create(name)
    with netns.entered(name), IPRoute() as route:
        route.link("set", index=_LOOPBACK, ifalias=mark_of(spec), state="up")
        _quieten(6 in spec.versions)


def _quieten(ipv6: bool) -> None:
    """Settings of a new namespace, before it has devices: nothing speaks unasked, nothing waits."""
    for scope in ("all", "default"):
        _sysctl(f"ipv4/conf/{scope}/rp_filter", 0)
        if Path("/proc/sys/net/ipv6").exists():
            _sysctl(f"ipv6/conf/{scope}/disable_ipv6", int(not ipv6))
            _sysctl(f"ipv6/conf/{scope}/accept_dad", 0)
            _sysctl(f"ipv6/conf/{scope}/accept_ra", 0)
            _sysctl(f"ipv6/conf/{scope}/autoconf", 0)
            _sysctl(f"ipv6/conf/{scope}/router_solicitations", 0)
            # Multicast reports cannot be turned off: let both be over a few milliseconds after.
            _sysctl(f"ipv6/conf/{scope}/mldv2_unsolicited_report_interval", 1)
    if Path("/proc/sys/net/ipv6").exists():
        _sysctl("ipv6/conf/default/addr_gen_mode", 1)  # no link-local address
    for hook in ("iptables", "ip6tables", "arptables"):
        _sysctl(f"bridge/bridge-nf-call-{hook}", 0, optional=True)


def _sysctl(key: str, value: int, optional: bool = False) -> None:
    path = Path("/proc/sys/net", key)
    if not (optional and not path.exists()):
        path.write_text(str(value))


def _make_wire(lab: Lab) -> None:
    spec, version = lab.spec, lab.spec.underlay
    queues = {"num_tx_queues": spec.queue_count, "num_rx_queues": spec.queue_count}
    common: dict[str, Any] = {"mtu": spec.mtu, "group": GROUP, **queues}
    with _links(lab.wire_ns) as route:
        peer = {"ifname": lab.nic, "address": lab.nic_mac, "net_ns_fd": lab.host_ns, **common}
        route.link("add", ifname=lab.wire, kind="veth", address=lab.wire_mac, peer=peer, **common)
        wire = _up(route, lab.wire)
        _address(route, wire, lab.remote_vtep_ip, OUTER_PREFIX[version])
        _neighbour(route, wire, lab.vtep_ip, lab.nic_mac)
        _send_complete_frames(lab.wire)
    with _links(lab.host_ns) as route:
        nic = _up(route, lab.nic)
        _address(route, nic, lab.vtep_ip, OUTER_PREFIX[version])
        _neighbour(route, nic, lab.remote_vtep_ip, lab.wire_mac)
        # NAPI on, as on every NIC: without it a veth does no GRO and takes no redirected frames.
        ethtool.set_features(lab.nic, {"rx-gro": True})


def _send_complete_frames(device: str) -> None:
    """The sender computes checksums and cuts segments itself.

    XDP redirect loses the note that a checksum is still to be computed (CHECKSUM_PARTIAL), and
    frames on a real wire are complete. Segmentation offload goes with the checksum's.
    """
    ethtool.set_features(device, {"tx-checksum-ip-generic": False})


def _add_tunnel(route: IPRoute, lab: Lab, local: str, mac: str, **more: Any) -> int:
    family = "vxlan_local" if lab.spec.outer == 4 else "vxlan_local6"
    route.link(
        "add",
        ifname=lab.tunnel,
        kind="vxlan",
        address=mac,
        mtu=lab.spec.inner_mtu,
        group=GROUP,
        vxlan_id=lab.spec.vni,
        vxlan_port=lab.port,
        # No outer checksum, as Docker and Flannel have it (over IPv6: RFC 6935).
        vxlan_udp_csum=0,
        vxlan_udp_zero_csum6_tx=1,
        vxlan_udp_zero_csum6_rx=1,
        **{family: local},
        **more,
    )
    return _index(route, lab.tunnel)


def _make_wire_tunnel(lab: Lab) -> None:
    """The other host's end, with the address of every remote talker on it."""
    with _links(lab.wire_ns) as route:
        link = _index(route, lab.wire)
        tunnel = _add_tunnel(
            route, lab, lab.remote_vtep_ip, PEER_MAC, vxlan_link=link, vxlan_learning=0
        )
        _up(route, lab.tunnel)
        _send_complete_frames(lab.tunnel)
        _behind(route, tunnel, _ANY_MAC, lab.vtep_ip)
        for end in lab.endpoints:
            _address(route, tunnel, end.peer_ip, INNER_PREFIX[lab.spec.inner])
            _neighbour(route, tunnel, end.ip, end.mac)
            _behind(route, tunnel, end.mac, lab.vtep_ip)


def make_tunnel(lab: Lab) -> None:
    """Our end. Made in the host's namespace in every case, where its underlay socket stays."""
    assert lab.tunnel_ns is not None
    with _links(lab.host_ns) as route:
        # As the originals do: Flannel binds the tunnel to the NIC, Docker does not, but learns.
        docker = lab.spec.case == "docker"
        bound = {} if docker else {"vxlan_link": _index(route, lab.nic)}
        tunnel = _add_tunnel(
            route, lab, lab.vtep_ip, TUNNEL_MAC, vxlan_learning=int(docker), **bound
        )
        if lab.tunnel_ns != lab.host_ns:
            route.link("set", index=tunnel, net_ns_fd=lab.tunnel_ns)
    with _links(lab.tunnel_ns) as route:
        tunnel = _up(route, lab.tunnel)
        _behind(route, tunnel, _ANY_MAC, lab.remote_vtep_ip)
        _behind(route, tunnel, PEER_MAC, lab.remote_vtep_ip)
        if not lab.spec.has_containers:
            end = lab.endpoints[0]
            _address(route, tunnel, end.ip, INNER_PREFIX[lab.spec.inner])
            _neighbour(route, tunnel, end.peer_ip, end.peer_mac)


def make_bridge(lab: Lab) -> None:
    """The bridge, without ports."""
    with _links(lab.endpoints[0].host_netns) as route:
        route.link(
            "add",
            ifname=lab.bridge,
            kind="bridge",
            address=BRIDGE_MAC,
            mtu=lab.spec.inner_mtu,
            group=GROUP,
            br_mcast_snooping=0,  # no querier here: snooping would only add reports
        )
        _up(route, lab.bridge)


def join_tunnel(lab: Lab) -> None:
    """The tunnel becomes a port of the bridge."""
    with _links(lab.endpoints[0].host_netns) as route:
        tunnel = _index(route, lab.tunnel)
        route.link("set", index=tunnel, master=_index(route, lab.bridge))
        _bridged(route, tunnel, PEER_MAC)


def make_container(lab: Lab, end: Endpoint) -> None:
    """A container on the bridge, its namespace made already."""
    with _links(end.host_netns) as route:
        _add_veth(route, lab.spec, end)
    join_bridge(lab, end)
    with _links(end.netns) as route:
        eth0 = _up(route, end.device)
        _address(route, eth0, end.ip, INNER_PREFIX[lab.spec.inner])
        _neighbour(route, eth0, end.peer_ip, end.peer_mac)
        # The host end keeps its offloads: it forwards what GRO has put together.
        _send_complete_frames(end.device)


def join_bridge(lab: Lab, end: Endpoint) -> None:
    """A container's host end becomes a port of the bridge."""
    with _links(end.host_netns) as route:
        host_end = _up(route, end.host_device, master=_index(route, lab.bridge))
        _bridged(route, host_end, end.mac)


def _add_veth(route: IPRoute, spec: LabSpec, end: Endpoint) -> None:
    queues = {"num_tx_queues": spec.queue_count, "num_rx_queues": spec.queue_count}
    common: dict[str, Any] = {"mtu": spec.inner_mtu, "group": GROUP, **queues}
    peer = {"ifname": end.device, "address": end.mac, "net_ns_fd": end.netns, **common}
    route.link("add", ifname=end.host_device, kind="veth", peer=peer, **common)


def settle(lab: Lab) -> None:
    """Have the kernel note now, and not within a second, that all devices have their link."""
    # The bridge last: it has a link when one of its ports has.
    for name, devices in lab.devices.items():
        with netns.entered(name):
            for device in sorted(devices, key=lambda device: device == lab.bridge):
                _note_link(name, device)
            if 6 in lab.spec.versions:
                _settle_addresses(name)


def settle_container(lab: Lab, end: Endpoint) -> None:
    """The same for one container that was made or switched on again."""
    for ns, device in ((end.netns, end.device), (end.host_netns, end.host_device)):
        with netns.entered(ns):
            _note_link(ns, device)
    if 6 in lab.spec.versions:
        with netns.entered(end.netns):
            _settle_addresses(end.netns)


def _note_link(ns: str, device: str) -> None:
    """In the namespace already. Asking has the kernel look."""
    if not ethtool.carrier(device):
        raise OversprayError(f"lab: '{device}' in '{ns}' has no link")


def _settle_addresses(name: str) -> None:
    """Wait for the namespace's IPv6 addresses: the kernel leaves their local routes to a worker."""
    end = time.monotonic() + _PATIENCE
    with IPRoute() as route:
        while missing := _without_route(route):
            if time.monotonic() > end:
                raise OversprayError(f"lab: '{missing.pop()}' in '{name}' is not usable")
            time.sleep(0.001)


def _without_route(route: IPRoute) -> set[str]:
    wanted = {each.get_attr("IFA_ADDRESS") for each in route.get_addr(family=AF_INET6)}
    local = route.get_routes(family=AF_INET6, table=_LOCAL_TABLE)
    return wanted - {each.get_attr("RTA_DST") for each in local}


@contextmanager
def _links(name: str) -> Iterator[IPRoute]:
    """Netlink inside a namespace; a refusal becomes one line that names it."""
    with netns.entered(name), IPRoute() as route:
        try:
            yield route
        except NetlinkError as error:
            reason = str(error.args[-1]) if error.args else "refused"
            raise OversprayError(f"lab: making devices in '{name}': {reason}") from error


def _index(route: IPRoute, device: str) -> int:
    return int(route.link_lookup(ifname=device)[0])


def _up(route: IPRoute, device: str, **more: Any) -> int:
    index = _index(route, device)
    route.link("set", index=index, state="up", **more)
    return index


def _address(route: IPRoute, index: int, address: str, prefix: int) -> None:
    route.addr("add", index=index, address=address, prefixlen=prefix, flags=_NODAD)


def _neighbour(route: IPRoute, index: int, address: str, mac: str) -> None:
    # Packets may have come already, and made an entry that is not resolved.
    route.neigh("replace", ifindex=index, dst=address, lladdr=mac, state=_PERMANENT)


def _behind(route: IPRoute, tunnel: int, mac: str, vtep: str) -> None:
    """Frames to this MAC go through the tunnel to that VTEP (the zero MAC: to all unknown)."""
    route.fdb("append", ifindex=tunnel, lladdr=mac, dst=vtep, state=_PERMANENT)


def _bridged(route: IPRoute, port: int, mac: str) -> None:
    """The bridge knows this MAC behind that port, for good (not PERMANENT: that is its own).

    It may have learned it already, from a multicast report.
    """
    route.fdb("replace", ifindex=port, lladdr=mac, flags=_MASTER, state=_STATIC)
