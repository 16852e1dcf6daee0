"""Makes a lab's namespaces and devices, silent: a packet that is counted is one that the wire sent.

Everything is known beforehand (static neighbours and forwarding entries), so nothing need be learned.
"""

import os
from collections.abc import Container as Holding
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address
from pathlib import Path
from socket import AF_INET6
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from bench.lab_plan import Container, Plan
from steering import netns
from steering.errors import OversprayError
from steering.waiting import wait_for

_NTF_MASTER = 0x04
_NOARP = 0x40
"""State of a static entry. To a bridge "permanent", pyroute2's default, means an address of its own: it would
keep the frames."""
_FORWARDING = 3
_IPV6 = {"disable_ipv6": "0", "addr_gen_mode": "1", "accept_ra": "0", "autoconf": "0", "accept_dad": "0"}
"""No address but the plan's, nothing asked of routers, no search for doubles."""
_NO_IPV6 = {"disable_ipv6": "1"}
_NODAD = 0x02
_LOOPBACK = 1
_LOCAL = 255
"""The routing table of a host's own addresses."""

Names = Mapping[str, str]
"""Role -> namespace."""


def build(plan: Plan, names: Names, there: Holding[str] = ()) -> None:
    """Make all namespaces and all in them, ready to carry packets. The caller removes them.

    ``there``: roles whose namespaces another lab has made; with the wire's the NIC is there as well.
    """
    try:
        for role, name in names.items():
            if role in there:
                continue
            netns.create(name)
            with netns.entered(name):
                _silence(plan.has_ipv6(role))
        with ExitStack() as stack:
            ip = {role: stack.enter_context(_netlink(name)) for role, name in names.items()}
            for role in ip.keys() - {"wire"}:  # an application may talk to itself
                ip[role].link("set", index=_LOOPBACK, state="up")
            if "wire" not in there:
                _underlay(plan, names, ip)
            if plan.has_tunnel:
                _tunnel(plan, names, ip)
            if plan.has_containers:
                _containers(plan, names, ip)
    except (NetlinkError, OSError) as error:
        raise OversprayError(
            f"the kernel refused a part of the lab: {error.args[-1]}: type 'overspray doctor'"
        ) from None


def index(name: str, device: str) -> int:
    """The ifindex of a device in its namespace."""
    with netns.entered(name):
        return netns.index(device)


@contextmanager
def _netlink(name: str) -> Iterator[IPRoute]:
    """A netlink socket of that namespace: it belongs to where it was opened."""
    with ExitStack() as stack:
        with netns.entered(name):
            ip = stack.enter_context(IPRoute())
        yield ip


@contextmanager
def _handle(name: str) -> Iterator[int]:
    handle = os.open(netns.RUN / name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)


def _silence(has_ipv6: bool) -> None:
    """Before there are devices, for `default` is copied at their birth. Goes with the namespace."""
    ipv6 = Path("/proc/sys/net/ipv6/conf")
    if has_ipv6 and not ipv6.exists():
        raise OversprayError("this kernel has no IPv6: choose IP version 4")
    for which in ("all", "default") if ipv6.exists() else ():
        for name, value in (_IPV6 if has_ipv6 else _NO_IPV6).items():
            (ipv6 / which / name).write_text(value)
    for which in ("all", "default"):
        Path(f"/proc/sys/net/ipv4/conf/{which}/rp_filter").write_text("0")
    for hook in Path("/proc/sys/net/bridge").glob("bridge-nf-call-*"):
        hook.write_text("0")  # 1 in every new namespace


def _underlay(plan: Plan, names: Names, ip: Mapping[str, IPRoute]) -> None:
    near = {"ifname": plan.nic, "address": plan.nic_mac}
    far = {"ifname": plan.wire, "address": plan.wire_mac}
    _veth(ip["host"], near, far, names["wire"], plan.mtu, plan.queues)
    _address(ip["wire"], plan.wire, plan.wire_ip, plan.prefix, plan.nic_ip, plan.nic_mac)
    _address(ip["host"], plan.nic, plan.nic_ip, plan.prefix, plan.wire_ip, plan.wire_mac)
    _settle(ip["wire"], plan.wire)
    _settle(ip["host"], plan.nic)


def _tunnel(plan: Plan, names: Names, ip: Mapping[str, IPRoute]) -> None:
    """The tunnel device. Its UDP socket is the host's, wherever it is moved to, as Docker does."""
    overlay = ip[plan.overlay_role]
    tunnel: dict[str, Any] = {
        **{"vxlan_id": plan.vni, "vxlan_port": plan.port},
        "vxlan_local6" if plan.outer == 6 else "vxlan_local": plan.nic_ip,
        **{"vxlan_learning": False, "mtu": plan.inner_mtu, "address": plan.tunnel_mac},
    }
    ip["host"].link("add", ifname=plan.tunnel, kind="vxlan", **tunnel)
    if plan.overlay_role != "host":
        with _handle(names[plan.overlay_role]) as place:
            ip["host"].link("set", index=_index(ip["host"], plan.tunnel), net_ns_fd=place)
    overlay.fdb("add", ifindex=_index(overlay, plan.tunnel), lladdr=plan.peer_mac, dst=plan.wire_ip)
    if not plan.has_containers:
        _address(overlay, plan.tunnel, plan.host_ip, plan.inner_prefix, plan.peer_ip, plan.peer_mac)
        _settle(overlay, plan.tunnel)


def _containers(plan: Plan, names: Names, ip: Mapping[str, IPRoute]) -> None:
    """The bridge, with the tunnel and the containers on it."""
    overlay = ip[plan.overlay_role]
    overlay.link("add", ifname=plan.bridge, kind="bridge", br_stp_state=0, br_mcast_snooping=0)
    _join(overlay, plan, plan.tunnel, plan.peer_mac)
    for each in plan.containers:
        _container(plan, names, ip, each)
    for device in (plan.tunnel, plan.bridge, *(each.veth for each in plan.containers)):
        overlay.link("set", index=_index(overlay, device), state="up")
    for device in (plan.tunnel, plan.bridge, *(each.veth for each in plan.containers)):
        _settle(overlay, device)
    for each in plan.containers:
        _settle(ip[each.role], "eth0")


def _container(plan: Plan, names: Names, ip: Mapping[str, IPRoute], each: Container) -> None:
    overlay = ip[plan.overlay_role]
    far = {"ifname": "eth0", "address": each.mac}
    _veth(overlay, {"ifname": each.veth}, far, names[each.role], plan.inner_mtu, plan.queues)
    _join(overlay, plan, each.veth, each.mac)
    # First, so that the other end comes up with its carrier on.
    _address(ip[each.role], "eth0", each.ip, plan.inner_prefix, plan.peer_ip, plan.peer_mac)


def _join(ip: IPRoute, plan: Plan, device: str, mac: str) -> None:
    """Make it a port of the bridge, behind which that address is."""
    port = _index(ip, device)
    ip.link("set", index=port, master=_index(ip, plan.bridge))
    ip.brport("set", index=port, learning=0)
    ip.fdb("add", ifindex=port, lladdr=mac, flags=_NTF_MASTER, state=_NOARP)


def _veth(
    ip: IPRoute, near: Mapping[str, str], far: Mapping[str, str], far_ns: str, mtu: int, queues: int
) -> None:
    """Both ends are born in their namespaces: no name is ever taken in the machine's own."""
    shape: dict[str, Any] = {"mtu": mtu, "num_rx_queues": queues, "num_tx_queues": queues}
    with _handle(far_ns) as place:
        ip.link("add", kind="veth", peer={**far, **shape, "net_ns_fd": place}, **near, **shape)


def _address(ip: IPRoute, device: str, own: str, bits: int, other: str, other_mac: str) -> None:
    index = _index(ip, device)
    is_6 = ip_address(own).version == 6
    if is_6:  # else it joins the group of those who ask for its address, and tells the others (MLD)
        ip.link("set", index=index, arp=False)
    ip.addr("add", index=index, address=own, prefixlen=bits, **({"flags": _NODAD} if is_6 else {}))
    ip.neigh("replace", ifindex=index, dst=other, lladdr=other_mac, state="permanent")
    ip.link("set", index=index, state="up")


def _index(ip: IPRoute, device: str) -> int:
    return int(ip.link_lookup(ifname=device)[0])


def _settle(ip: IPRoute, device: str) -> None:
    """Wait until the device really carries packets: carrier, qdisc and bridge port state follow `up` from a
    work queue. Operstate says nothing: it comes up to a second later than the rest."""

    def ready() -> bool:
        link = ip.get_links(_index(ip, device))[0]
        carries = link.get("carrier") == 1 and link.get("qdisc") not in (None, "noop")
        forwards = link.get(("linkinfo", "slave_data", "state")) in (None, _FORWARDING)
        return carries and forwards and _takes_ipv6(ip, device)

    wait_for(ready, f"{device} to carry packets")


def _takes_ipv6(ip: IPRoute, device: str) -> bool:
    """Whether it takes packets to its IPv6 addresses, where it has any: routes follow from a work queue."""
    index = _index(ip, device)
    own = {each.get("address") for each in ip.get_addr(family=AF_INET6, index=index)}
    return not own or own <= {each.get("dst") for each in ip.get_routes(family=AF_INET6, table=_LOCAL)}
