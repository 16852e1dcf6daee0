"""Somebody else's XDP program on a NIC, taken off while ours is there: only for those who insist."""

import errno
import os
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from steering import bpf, netns
from steering.closing import Closing
from steering.errors import OversprayError
from steering.inventory import Device
from steering.waiting import wait_for

_MODES = {"DRV": bpf.XDP_NATIVE, "SKB": bpf.XDP_GENERIC}
_HELD = "its XDP program is held by a bpf link: end the process that holds it"
_END_S = 5.0
"""How long the link of a process that was killed may take to go."""


class Foreign(Closing):
    """The program that is on a NIC, held from construction until :meth:`close`: it would end when taken off.

    OversprayError where there is none that could be put back.
    """

    def __init__(self, nic: Device) -> None:
        self._nic = nic
        found = self._attached()
        modes = {name: found.get_attr(f"IFLA_XDP_{name}_PROG_ID") for name in _MODES} if found else {}
        [*there] = [(name, number) for name, number in modes.items() if number]
        if len(there) != 1:
            raise OversprayError(f"attach to '{nic.name}': no XDP program is on it: leave --force out")
        [(name, number)] = there
        self._mode = _MODES[name]
        self.program = bpf.program_by_id(number)

    def take_off(self) -> None:
        """OversprayError where the kernel refuses: it is on a link."""
        self._set(-1)

    def put_back(self) -> None:
        """Where nothing else is there by now, as soon as ours has gone."""
        wait_for(self._is_back, f"'{self._nic.name}' to take its XDP program back", _END_S)

    def close(self) -> None:
        """Let go of it. Closing twice is not allowed."""
        os.close(self.program)

    def _is_back(self) -> bool:
        try:
            self._set(self.program)
        except OversprayError:  # ours is on its way, or somebody was quicker
            return False
        return True

    def _set(self, program: int) -> None:
        told = {"attrs": [("IFLA_XDP_FD", program), ("IFLA_XDP_FLAGS", self._mode)]}
        with netns.entered(self._nic.namespace.path), IPRoute() as ip:
            try:
                ip.link("set", index=self._nic.index, IFLA_XDP=told)
            except NetlinkError as error:
                reason = _HELD if error.code == errno.EBUSY else os.strerror(error.code)
                raise OversprayError(f"attach to '{self._nic.name}': {reason}") from None

    def _attached(self) -> Any:
        with netns.entered(self._nic.namespace.path), IPRoute() as ip:
            [link] = ip.get_links(self._nic.index)
        return link.get_attr("IFLA_XDP")
