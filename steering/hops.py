"""The helper veths by which frames get from the NIC's namespace into those that hold bridges.

bpf_redirect_peer reaches only a veth whose host end is in the packet's own namespace; where the bridge has a
namespace of its own (Docker has one for each network), frames hop into that through a helper first.
"""

import itertools
import re
import socket
from contextlib import ExitStack

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from steering import bpf, netns
from steering.bpf import Link
from steering.closing import Closing
from steering.errors import OversprayError

_MTU = 65535
"""Longer than anything that GRO makes for one container."""
_FAR = "os-hop%d"
"""The kernel puts a number there that is free: several NICs may lead into one namespace."""
_VETH_PEER = "IFLA_LINK"


def name_of(nic_index: int, number: int) -> str:
    """Of a helper's end in the NIC's namespace; 15 bytes at most, or the kernel refuses."""
    return f"os-hop{nic_index}-{number}"


def remove_stale(near_ns: str, nic_index: int) -> None:
    """Remove what a killed process left beside a NIC; for whoever knows that none of its is in use."""
    ours = re.compile(name_of(nic_index, 0)[:-1] + r"\d+")
    with netns.entered(near_ns), IPRoute() as ip:
        for link in ip.get_links():
            if ours.fullmatch(link.get_attr("IFLA_IFNAME")):
                ip.link("del", index=link["index"])


class Hops(Closing):
    """The helpers of one NIC, each made when its namespace is first to be reached, until :meth:`close`."""

    def __init__(self, near_ns: str, nic_index: int, program: int) -> None:
        """``near_ns`` is the NIC's namespace; the loaded ``program`` runs where frames leave a helper."""
        self._near_ns, self._nic_index, self._program = near_ns, nic_index, program
        self._numbers = itertools.count()
        self._helpers: dict[int, Helper] = {}  # by the far namespace's inode: its path may change

    def reach(self, far_ns: str) -> int:
        """ifindex of the helper into that namespace, 0 where it is the NIC's own.

        OversprayError where the kernel refuses, or the namespace has gone.
        """
        inode = netns.inode(far_ns)
        if inode == netns.inode(self._near_ns):
            return 0
        helper = self._helpers.get(inode)
        if not helper or not helper.leads_to(far_ns):  # another namespace, with the number of one that went
            if helper:
                self._helpers.pop(inode).close()
            name = name_of(self._nic_index, next(self._numbers))
            helper = self._helpers[inode] = Helper(self._near_ns, far_ns, name, self._program)
        return helper.near_index

    def trim(self) -> None:
        """Let go of what ended with its namespace. Others stay, used or not: frames may be on their way."""
        with netns.entered(self._near_ns):
            there = {index for index, _ in socket.if_nameindex()}
        for inode in [inode for inode, each in self._helpers.items() if each.near_index not in there]:
            self._helpers.pop(inode).close()

    def close(self) -> None:
        """Remove all. Closing twice is harmless."""
        while self._helpers:
            self._helpers.popitem()[1].close()


class Helper(Closing):
    """A veth between two namespaces, up at both ends, from construction until :meth:`close`."""

    def __init__(self, near_ns: str, far_ns: str, name: str, program: int) -> None:
        """``name`` of the near end; ``program``: tc's, at the far one. OversprayError: the kernel refuses."""
        self._near_ns, self._name = near_ns, name
        self.near_index = self.far_index = 0
        with ExitStack() as stack:
            stack.callback(self._remove)
            try:
                with netns.opened(far_ns) as place, netns.entered(near_ns), IPRoute() as ip:
                    peer = {"ifname": _FAR, "net_ns_fd": place, "mtu": _MTU}
                    ip.link("add", ifname=name, kind="veth", mtu=_MTU, peer=peer)
                    self.near_index = netns.index(name)
                    ip.link("set", index=self.near_index, state="up")
                    [near] = ip.get_links(self.near_index)
                    self.far_index = near.get_attr(_VETH_PEER)
                with netns.entered(far_ns), IPRoute() as ip:
                    ip.link("set", index=self.far_index, state="up")
                    stack.enter_context(Link(program, self.far_index, bpf.ATTACH_TCX_INGRESS))
            except (NetlinkError, OSError) as error:
                raise OversprayError(f"make the helper veth '{name}': {error.args[-1]}") from None
            self._open = stack.pop_all()

    def leads_to(self, far_ns: str) -> bool:
        """Whether its far end is there."""
        try:
            with netns.entered(far_ns), IPRoute() as ip:
                [far] = ip.get_links(self.far_index)
                return bool(far.get_attr(_VETH_PEER) == self.near_index)
        except NetlinkError:
            return False

    def close(self) -> None:
        """Remove it, and none that somebody else made; no error where it is gone already."""
        self._open.close()

    def _remove(self) -> None:
        if not self.near_index or not netns.exists(self._near_ns):
            return
        with netns.entered(self._near_ns), IPRoute() as ip:
            if self.near_index in ip.link_lookup(ifname=self._name):
                ip.link("del", index=self.near_index)
