"""Makes a lab's namespaces and devices, silent: a packet that is counted is one that the wire sent."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from steering import cores, netns
from steering.errors import OversprayError
from steering.waiting import wait_for

ROLES = ("wire", "host")


@dataclass(frozen=True)
class Plan:
    """Devices and addresses. Outside they are of RFC 2544's range, which is nobody's."""

    wire: str = "wire0"
    wire_mac: str = "02:00:00:00:00:01"
    wire_ip: str = "198.18.0.1"
    nic: str = "nic0"
    nic_mac: str = "02:00:00:00:00:02"
    nic_ip: str = "198.18.0.2"
    mtu: int = 1600
    queues: int = field(default_factory=lambda: len(cores.online()))


def build(plan: Plan, wire_ns: str, host_ns: str) -> None:
    """Make both namespaces and all in them, ready to carry packets. The caller removes them."""
    try:
        for name in (wire_ns, host_ns):
            netns.create(name)
            with netns.entered(name):
                _silence()
        with _netlink(wire_ns) as wire, _netlink(host_ns) as host:
            _veth(host, plan, wire_ns)
            _address(wire, plan.wire, plan.wire_ip, plan.nic_ip, plan.nic_mac)
            _address(host, plan.nic, plan.nic_ip, plan.wire_ip, plan.wire_mac)
            _settle(wire, plan.wire)
            _settle(host, plan.nic)
    except (NetlinkError, OSError) as error:
        raise OversprayError(
            f"the kernel refused a part of the lab: {error.args[-1]}: type 'overspray doctor'"
        ) from None


def indexes(plan: Plan, wire_ns: str, host_ns: str) -> tuple[int, int]:
    """The ifindex of the wire's device and of the NIC, each in its namespace."""
    found = []
    for name, device in ((wire_ns, plan.wire), (host_ns, plan.nic)):
        with netns.entered(name):
            found.append(socket.if_nametoindex(device))
    return found[0], found[1]


@contextmanager
def _netlink(name: str) -> Iterator[IPRoute]:
    """A netlink socket of that namespace: it belongs to where it was opened."""
    with ExitStack() as stack:
        with netns.entered(name):
            ip = stack.enter_context(IPRoute())
        yield ip


def _silence() -> None:
    """Before there are devices, for `default` is copied at their birth. Goes with the namespace."""
    for which in ("all", "default"):
        if Path("/proc/sys/net/ipv6").exists():
            Path(f"/proc/sys/net/ipv6/conf/{which}/disable_ipv6").write_text("1")
        Path(f"/proc/sys/net/ipv4/conf/{which}/rp_filter").write_text("0")


def _veth(host: IPRoute, plan: Plan, wire_ns: str) -> None:
    """Both ends are born in their namespaces: no name is ever taken in the machine's own."""
    shape = {"mtu": plan.mtu, "num_rx_queues": plan.queues, "num_tx_queues": plan.queues}
    handle = os.open(netns.RUN / wire_ns, os.O_RDONLY | os.O_CLOEXEC)
    try:
        peer = {"ifname": plan.wire, "address": plan.wire_mac, "net_ns_fd": handle, **shape}
        host.link("add", ifname=plan.nic, kind="veth", address=plan.nic_mac, peer=peer, **shape)
    finally:
        os.close(handle)


def _address(ip: IPRoute, device: str, own: str, other: str, other_mac: str) -> None:
    index = ip.link_lookup(ifname=device)[0]
    ip.addr("add", index=index, address=own, prefixlen=24)
    ip.neigh("replace", ifindex=index, dst=other, lladdr=other_mac, state="permanent")
    ip.link("set", index=index, state="up")


def _settle(ip: IPRoute, device: str) -> None:
    """Wait until the device really carries packets: carrier and qdisc follow `up` from a work queue.

    Operstate says nothing: it comes up to a second later than the rest.
    """

    def ready() -> bool:
        link = ip.get_links(ip.link_lookup(ifname=device)[0])[0]
        return link.get("carrier") == 1 and link.get("qdisc") not in (None, "noop")

    wait_for(ready, f"{device} to carry packets")
