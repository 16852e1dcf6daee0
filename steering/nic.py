"""Puts a program on a NIC by a link: native XDP, or generic where one asks for it; or says why not."""

import errno
import os

from steering import bpf, netns
from steering.bpf import Link
from steering.errors import OversprayError
from steering.target import Place

_REASONS = {
    errno.EBUSY: "another XDP program is attached: detach that first",
    errno.EOPNOTSUPP: "its driver has no native XDP: choose another device, or add --generic (slow)",
    errno.ERANGE: "its MTU is too large for native XDP, which needs a frame and its headroom in one page: "
    "lower it",
}


def attached(program: int, nic: Place, index: int, generic: bool = False) -> Link:
    """The link that keeps it there. ``index``: the NIC's ifindex in its namespace.

    OversprayError where the device takes no native XDP, or has a program already.
    """
    mode = bpf.XDP_GENERIC if generic else bpf.XDP_NATIVE
    try:
        with netns.entered(nic.ns):
            return Link(program, index, bpf.ATTACH_XDP, mode)
    except bpf.BpfError as error:
        reason = _REASONS.get(error.errno, os.strerror(error.errno))
        raise OversprayError(f"attach to '{nic.device}': {reason}") from None
