"""What must hold before a NIC is attached to; each check raises the one line that says why not."""

import os
from typing import TYPE_CHECKING

from steering import capabilities, journal, netns
from steering.errors import BadInput, OversprayError

if TYPE_CHECKING:
    from steering.plan import Plan

NEEDED = (
    "capabilities",
    "kernel headers",
    "bcc",
    "XDP links",
    "cpumap programs",
    "devmap programs",
)
"""Of what doctor looks at: what any attaching stands on. A delivery that wants more (tcx links)
says so; the rest is for measuring."""


def require_state(what: str) -> None:
    """OversprayError for anybody but the owner of what commands leave for each other."""
    from steering.control import SOCKETS

    for folder in (SOCKETS, journal.JOURNALS):
        while not folder.exists():
            folder = folder.parent
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            raise OversprayError(
                f"{what} needs '{folder}', which is not yours: type it with sudo, or as its owner "
                f"(docs/attach.md: without root)"
            )


def require_for(plan: "Plan") -> None:
    """OversprayError where a capability is missing that this plan needs beyond attaching."""
    if plan.nice:
        capabilities.require(f"nice={plan.nice}", "CAP_SYS_NICE")
    if plan.rps:
        capabilities.require(f"rps={plan.rps}", "CAP_DAC_OVERRIDE")


def require_host() -> None:
    """OversprayError where this host lacks something that attaching needs; looks for 0.2 s."""
    from steering.doctor import examine

    for probe in examine():
        if probe.name in NEEDED and not probe.ok:
            raise OversprayError(f"not possible here: {probe.name}: {probe.value}: {probe.fix}")


def check_device(ns: netns.Namespace, device: str) -> None:
    """The device is there, and no XDP program is on it.

    Raises:
        BadInput: no such device.
        OversprayError: no such namespace, or somebody else's program.
    """
    from steering.overlay import HeldNamespace
    from steering.overlay.netlink import Netlink
    from steering.overlay.view import read_links

    with netns.entered(ns):
        here = HeldNamespace("/proc/thread-self/ns/net")
    try:
        with Netlink(here) as netlink:
            links = {link.name: link for link in read_links(netlink).values()}
    finally:
        here.close()
    if device not in links:
        where = "this namespace" if ns is None else f"network namespace '{ns}'"
        raise BadInput(f"no device '{device}' in {where}: there is {', '.join(sorted(links))}")
    if links[device].xdp:
        raise OversprayError(
            f"'{device}' has an XDP program already, which is not ours: detach that first "
            f"('ip link set {device} xdp off', or end its owner)"
        )
