"""The helper veth by which frames get from the NIC's namespace into the one that holds the bridge.

bpf_redirect_peer reaches only a veth whose host end is in the packet's own namespace; where the bridge has a
namespace of its own (Docker), frames hop into that through a helper first.
"""

import os
import socket

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from steering import netns
from steering.closing import Closing
from steering.errors import OversprayError

_MTU = 65535
"""Longer than anything that GRO makes for one container."""


def remove_stale(near_ns: str) -> None:
    """Remove what a killed process left in a NIC's namespace; for whoever knows that none is in use there."""
    with netns.entered(near_ns), IPRoute() as ip:
        for index in ip.link_lookup(ifname=Helper.near):
            ip.link("del", index=index)


class Helper(Closing):
    """A veth between two namespaces, up at both ends, from construction until :meth:`close`."""

    near, far = "os-hop-near", "os-hop-far"

    def __init__(self, near_ns: str, far_ns: str) -> None:
        """``near_ns`` is the NIC's namespace. OversprayError where the kernel refuses."""
        self._near_ns = near_ns
        self.near_index = 0
        try:
            with netns.entered(near_ns), IPRoute() as ip:
                place = os.open(netns.RUN / far_ns, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    peer = {"ifname": self.far, "net_ns_fd": place, "mtu": _MTU}
                    ip.link("add", ifname=self.near, kind="veth", mtu=_MTU, peer=peer)
                finally:
                    os.close(place)
                self.near_index = socket.if_nametoindex(self.near)
                ip.link("set", index=self.near_index, state="up")
            with netns.entered(far_ns), IPRoute() as ip:
                self.far_index = socket.if_nametoindex(self.far)
                ip.link("set", index=self.far_index, state="up")
        except BaseException as error:
            self.close()
            if isinstance(error, NetlinkError | OSError):
                raise OversprayError(f"make the helper veth '{self.near}': {error.args[-1]}") from None
            raise

    def close(self) -> None:
        """Remove it, and none that somebody else made; no error where it is gone already."""
        if not self.near_index or not netns.exists(self._near_ns):
            return
        with netns.entered(self._near_ns), IPRoute() as ip:
            if self.near_index in ip.link_lookup(ifname=self.near):
                ip.link("del", index=self.near_index)
