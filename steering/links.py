"""Reads what one network namespace shows, by netlink and ioctl, as `steering.inventory` has it.

``ip`` is an IPRoute that was opened there. What says so needs the calling thread in that namespace as well.
Raises NetlinkError and OSError where the namespace is going.
"""

import ctypes
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from steering import bpf
from steering.inventory import BRIDGE, VETH, VXLAN, Forward, Link, Route, Vxlan
from steering.rtnl import Rtnl, steady

_UP, _LOOPBACK = 0x1, 0x8
_SELF, _PERMANENT = 0x02, 0x80
"""Of forwarding entries: the device's, not its bridge's; put there, not learned."""
_INGRESS, _EGRESS = 0xFFFFFFF2, 0xFFFFFFF3
_XDP_MODES = {"DRV": "native", "SKB": "generic", "HW": "offloaded"}
_SIOCETHTOOL, _GGRO, _GCHANNELS = 0x8946, 0x2B, 0x3C
_BRIDGE_NF = Path("/proc/sys/net/bridge")


def links() -> dict[int, Link]:
    """All devices of the calling thread's namespace, by index."""
    with Rtnl() as asked:
        found = {each["index"]: _link(each) for each in asked.links()}
        addresses = asked.addresses()
    for each in addresses:
        # IFA_ADDRESS is the far end's where there is one (point-to-point).
        address = each.get_attr("IFA_LOCAL") or each.get_attr("IFA_ADDRESS")
        if link := found.get(each["index"]):
            told = f"{address}/{each['prefixlen']}"
            found[link.index] = replace(link, addresses=(*link.addresses, told))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        return {index: _with_queues(asking, link) for index, link in found.items()}


def forwards(ip: IPRoute, tunnels: Iterable[int]) -> dict[int, tuple[Forward, ...]]:
    """Forwarding entries of these tunnels, by index; sorted."""
    found: dict[int, set[Forward]] = {index: set() for index in tunnels}
    for each in steady(lambda: ip.fdb("dump")):
        if each["ifindex"] in found and each["flags"] & _SELF:
            remote, mac = each.get_attr("NDA_DST") or "", each.get_attr("NDA_LLADDR")
            found[each["ifindex"]].add(Forward(mac, remote, bool(each["state"] & _PERMANENT)))
    return {index: tuple(sorted(entries)) for index, entries in found.items()}


def routes(ip: IPRoute, vteps: Iterable[str]) -> dict[str, Route]:
    """How packets to them would leave; without those that have no route."""
    found = {}
    for vtep in vteps:
        try:
            [answer] = ip.route("get", dst=vtep)
        except (NetlinkError, ValueError):
            continue
        source = answer.get_attr("RTA_PREFSRC") or ""
        found[vtep] = Route(answer.get_attr("RTA_OIF") or 0, source)
    return found


def nsid(ip: IPRoute, namespace: int) -> int | None:
    """The number by which ``ip``'s namespace knows the one behind a descriptor; None: by none."""
    answer = ip.get_netnsid(fd=namespace)
    number = answer["nsid"] if answer else None
    return None if number is None or number >= 1 << 31 else number  # -1, unsigned


def tc(ip: IPRoute, tunnels: Iterable[int]) -> dict[int, tuple[str, ...]]:
    """What tc has on these devices beside their queues. The calling thread is in their namespace."""
    kinds: dict[int, list[str]] = {index: [] for index in tunnels}
    for each in steady(ip.get_qdiscs):
        kind = each.get_attr("TCA_KIND")
        if each["index"] in kinds and kind in ("clsact", "ingress"):
            kinds[each["index"]].append(kind)
    return {index: tuple(_tc(ip, index, found)) for index, found in kinds.items()}


def netfilter() -> tuple[str, ...]:
    """Which of bridge-nf-call-* are on. The calling thread is in the bridge's namespace."""
    files = sorted(_BRIDGE_NF.glob("bridge-nf-call-*"))
    return tuple(each.name for each in files if each.read_text().strip() != "0")


def _link(message: Any) -> Link:
    kind = message.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") or ""
    data = message.get_nested("IFLA_LINKINFO", "IFLA_INFO_DATA")

    def bridge(*names: str) -> bool:
        return kind == BRIDGE and data is not None and any(data.get_attr(f"IFLA_BR_{name}") for name in names)

    return Link(
        index=message["index"],
        name=_text(message.get_attr("IFLA_IFNAME")),
        kind=kind,
        mac=message.get_attr("IFLA_ADDRESS") or "",
        mtu=message.get_attr("IFLA_MTU") or 0,
        master=message.get_attr("IFLA_MASTER") or 0,
        lower=message.get_attr("IFLA_LINK") or 0,
        lower_nsid=message.get_attr("IFLA_LINK_NETNSID"),
        rx_queues=message.get_attr("IFLA_NUM_RX_QUEUES") or 0,
        xdp=_xdp(message.get_attr("IFLA_XDP")),
        loopback=bool(message["flags"] & _LOOPBACK),
        down=not message["flags"] & _UP,
        netfilter=bridge("NF_CALL_IPTABLES", "NF_CALL_IP6TABLES", "NF_CALL_ARPTABLES"),
        vlan_filtering=bridge("VLAN_FILTERING"),
        vxlan=_vxlan(data) if kind == VXLAN and data is not None else None,
    )


def _vxlan(data: Any) -> Vxlan:
    def get(name: str) -> Any:
        return data.get_attr(f"IFLA_VXLAN_{name}")

    return Vxlan(
        vni=get("ID") or 0,
        port=get("PORT") or 0,
        local=get("LOCAL") or get("LOCAL6") or "",
        group=get("GROUP") or get("GROUP6") or "",
        lower=get("LINK") or 0,
        learning=bool(get("LEARNING")),
        zero_checksum=bool(get("UDP_ZERO_CSUM6_RX")),
        external=bool(get("COLLECT_METADATA")),
    )


def _xdp(attached: Any) -> str:
    if attached is None:
        return ""
    return ", ".join(
        mode for name, mode in _XDP_MODES.items() if attached.get_attr(f"IFLA_XDP_{name}_PROG_ID")
    )


def _text(name: str | bytes) -> str:
    """pyroute2 leaves bytes that are no UTF-8 as they are."""
    return os.fsdecode(name) if isinstance(name, bytes) else name


def _with_queues(asking: socket.socket, link: Link) -> Link:
    """With what is asked for by ioctl, and only of devices where it matters: NICs and containers' ends."""
    if link.loopback or link.kind in (BRIDGE, VXLAN) or (link.kind == VETH and link.master):
        return link
    channels = _ethtool(asking, link.name, _GCHANNELS, 9)
    gro = _ethtool(asking, link.name, _GGRO, 2)
    return replace(
        link,
        active_rx_queues=channels[5] + channels[8] if channels else None,  # receiving, and both ways
        gro=bool(gro[1]) if gro else None,
    )


def _ethtool(asking: socket.socket, name: str, command: int, words: int) -> tuple[int, ...]:
    """The answer in 32-bit words, the first of which is the command; empty where the driver has none."""
    buffer = (ctypes.c_uint32 * words)(command)
    request = struct.pack("16sP16x", os.fsencode(name), ctypes.addressof(buffer))  # struct ifreq
    try:
        fcntl.ioctl(asking, _SIOCETHTOOL, request)
    except OSError:
        return ()
    return tuple(buffer)


def _tc(ip: IPRoute, index: int, qdiscs: Iterable[str]) -> Iterable[str]:
    for kind in qdiscs:
        yield kind
        if count := sum(len(_filters(ip, index, parent)) for parent in (_INGRESS, _EGRESS)):
            yield f"{count} filter{'s' if count > 1 else ''}"
    for direction, attach_type in (("ingress", bpf.ATTACH_TCX_INGRESS), ("egress", bpf.ATTACH_TCX_EGRESS)):
        if count := bpf.count_attached(index, attach_type):
            yield f"{count} tcx program{'s' if count > 1 else ''} on {direction}"


def _filters(ip: IPRoute, index: int, parent: int) -> list[Any]:
    try:
        found = steady(lambda: ip.get_filters(index, parent=parent))
    except NetlinkError as error:
        if error.code not in (errno.EINVAL, errno.ENOENT, errno.ENODEV):  # ingress has no egress; or gone
            raise
        return []
    # One message a filter has options; that of its chain or priority alone has none.
    return [each for each in found if each.get_attr("TCA_OPTIONS")]
