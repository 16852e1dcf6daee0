"""Keeps the forwarding entries of bypassed senders alive.

A bridge and a learning VXLAN device forget a MAC from which no frame has come for a while (300 s by
default), and the fast path's frames do not come by there. Forgotten, every answer to that MAC is
flooded: to all containers of the bridge and through the tunnel to all known hosts.
"""

from collections.abc import Iterator

from pyroute2.netlink.rtnl import RTM_GETNEIGH, RTM_NEWNEIGH
from pyroute2.netlink.rtnl.ndmsg import (
    NTF_EXT_LEARNED,
    NTF_MASTER,
    NTF_SELF,
    NTF_USE,
    NUD_REACHABLE,
    ndmsg,
)

from steering.errors import OversprayError
from steering.overlay.model import Overlay, Tunnel
from steering.overlay.namespaces import HeldNamespace
from steering.overlay.netlink import Netlink
from steering.overlay.view import AF_BRIDGE, NEVER_MOVES, Entry, read_entries


def period(overlay: Overlay) -> float | None:
    """How often to call :func:`refresh`, in seconds; None where nothing ages."""
    ages = [tunnel.ageing for tunnel in overlay.tunnels if tunnel.ageing]
    return min(ages) / 3 if ages else None


def refresh(overlay: Overlay) -> int:
    """Make entries that somebody here still sends to as good as new; how many there were.

    That is what a frame would have done. A remote MAC counts as sent to while it is in the
    neighbour table of an endpoint; one that is in none may be forgotten, as nobody sends to it
    without asking first, and question and answer take the stock path. Our containers' own MACs
    count as long as they are there. No entry is made or moved, and static ones do not age.

    Raises:
        OversprayError: a tunnel's namespace is gone.
    """
    wanted = {end.mac for end in overlay.endpoints} | _neighbours(overlay)
    return sum(_refresh_in(overlay, ns, wanted) for ns in {t.ns for t in overlay.tunnels})


def _refresh_in(overlay: Overlay, ns: HeldNamespace, wanted: set[str]) -> int:
    tunnels = {tunnel.ifindex: tunnel for tunnel in overlay.tunnels if tunnel.ns == ns}
    ports = {(end.host_ifindex, end.mac) for end in overlay.endpoints if end.host_ns == ns}
    count = 0
    with Netlink(ns) as netlink:
        for entry in read_entries(netlink):
            tunnel = tunnels.get(entry.ifindex)
            ours = tunnel is not None or (entry.ifindex, entry.mac) in ports
            if ours and entry.mac in wanted and _ages(entry, tunnel):
                _use(netlink, entry)
                count += 1
    return count


def _ages(entry: Entry, tunnel: Tunnel | None) -> bool:
    """Whether an entry is one that was learned, and is forgotten again."""
    if entry.state & NEVER_MOVES or entry.flags & NTF_EXT_LEARNED or entry.vlan:
        return False
    # In a tunnel device that does not learn, no frame would have kept an entry alive.
    return bool(entry.master) or (tunnel is not None and tunnel.learning)


def _use(netlink: Netlink, entry: Entry) -> None:
    """Say that the entry was used just now (NTF_USE), as a frame from its MAC would."""
    request = ndmsg()
    request["family"] = AF_BRIDGE
    request["ifindex"] = entry.ifindex
    request["flags"] = NTF_USE | (NTF_MASTER if entry.master else NTF_SELF)
    request["state"] = NUD_REACHABLE
    request["attrs"] = [("NDA_LLADDR", entry.mac)]
    if not entry.master:
        request["attrs"].append(("NDA_DST", entry.dst))
    try:
        netlink.ask(RTM_NEWNEIGH, request)
    except OversprayError:  # it went meanwhile
        return


def _neighbours(overlay: Overlay) -> set[str]:
    """The MACs that the endpoints believe to be their neighbours'."""
    found: set[str] = set()
    for ns, devices in _devices(overlay):
        try:
            with Netlink(ns) as netlink:
                for message in netlink.dump(RTM_GETNEIGH, ndmsg()):
                    if message["ifindex"] in devices:
                        found.add(message.get_attr("NDA_LLADDR") or "")
        except OversprayError:  # the container has just gone
            continue
    return found - {""}


def _devices(overlay: Overlay) -> Iterator[tuple[HeldNamespace, set[int]]]:
    for ns in {end.ns for end in overlay.endpoints}:
        yield ns, {end.ifindex for end in overlay.endpoints if end.ns == ns}
