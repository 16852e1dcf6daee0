"""IPsec policies of a namespace: they may demand that what comes in plain be dropped."""

from typing import Any

from pyroute2.netlink import NETLINK_XFRM, nlmsg
from pyroute2.netlink.nlsocket import Marshal

from steering.errors import OversprayError
from steering.overlay.namespaces import HeldNamespace
from steering.overlay.netlink import Netlink

_NEW_POLICY, _GET_POLICY = 0x13, 0x15
_DIRECTION = 160
"""Where struct xfrm_userpolicy_info says in (0), out or forward (linux/xfrm.h)."""


class _Policy(nlmsg):  # type: ignore[misc]
    fields = (("info", "168s"),)


class _Marshal(Marshal):  # type: ignore[misc]
    msg_map = {_NEW_POLICY: _Policy}  # noqa: RUF012 - pyroute2's own form


def inbound_policies(ns: HeldNamespace) -> int:
    """How many policies hold for packets coming in; 0 where the kernel has no IPsec."""
    try:
        with Netlink(ns, NETLINK_XFRM, marshal=_Marshal()) as netlink:
            policies: list[Any] = netlink.dump(_GET_POLICY, nlmsg())
    except (OSError, OversprayError):
        return 0
    return sum(policy["info"][_DIRECTION] == 0 for policy in policies)
