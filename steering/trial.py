"""Probes that really try: tiny BPF programs on devices of a nameless network namespace.

The programs are raw instructions loaded through `steering.bpf`, so this works without bcc and in
milliseconds. The namespace belongs to one thread and is gone, devices and all, when that ends.
"""

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from steering import bpf
from steering.errors import OversprayError
from steering.host import Probe

_CLONE_NEWNET = 0x40000000
_LOOPBACK = 1
_XDP_DROP = 1
_LIVE_FRAMES = 64


class Trial(NamedTuple):
    """Something to try, and what to say of it; `run` returns words for the table or raises."""

    name: str
    run: Callable[[], str]
    meaning: str
    fix: str
    needed: bool = True

    def probe(self, why_not: str = "") -> Probe:
        """Try it, unless there is a reason why it can't be tried here."""
        ok, value = False, why_not
        if not why_not:
            try:
                ok, value = True, self.run()
            except (OversprayError, OSError, NetlinkError) as error:
                value = f"tried: {error}"
        return Probe(self.name, ok, value, self.meaning, self.fix, self.needed)


def trials() -> list[Probe]:
    """Everything the datapath and the wire do with the kernel, tried once each."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_in_this_thread).result()


def _in_this_thread() -> list[Probe]:
    why_not = enter_new_namespace()
    return [trial.probe(why_not) for trial in _TRIALS]


def enter_new_namespace() -> str:
    """Put the calling thread into a new network namespace; says why when it cannot."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) == 0:
        return ""
    return f"not tried: no network namespace ({os.strerror(ctypes.get_errno())})"


def _with_program(
    instructions: bytes, prog_type: int, attach_type: int, use: Callable[[int], object]
) -> str:
    program = bpf.prog_load(instructions, prog_type, attach_type)
    try:
        use(program)
    finally:
        os.close(program)
    return "tried"


def _linked(instructions: bytes, prog_type: int, attach_type: int, ifindex: int, flags: int) -> str:
    def use(program: int) -> None:
        os.close(bpf.link_create(program, ifindex, attach_type, flags))

    return _with_program(instructions, prog_type, attach_type, use)


def _devices() -> str:
    """One each of the devices an overlay is made of."""
    with IPRoute() as ip:
        ip.link("add", ifname="br0", kind="bridge")
        ip.link("add", ifname="vxlan0", kind="vxlan", vxlan_id=1, vxlan_port=4789)
        _veth(ip, "a0", "a1")
    return "tried"


def _native_xdp() -> str:
    with IPRoute() as ip:
        ifindex = _veth(ip, "b0", "b1")
    program, flags = bpf.returning(bpf.XDP_PASS), bpf.XDP_FLAGS_DRV_MODE
    return _linked(program, bpf.PROG_TYPE_XDP, bpf.ATTACH_XDP, ifindex, flags)


def _xdp_link() -> str:
    program, flags = bpf.returning(bpf.XDP_PASS), bpf.XDP_FLAGS_SKB_MODE
    return _linked(program, bpf.PROG_TYPE_XDP, bpf.ATTACH_XDP, _LOOPBACK, flags)


def _tcx_link() -> str:
    program = bpf.returning(bpf.TCX_NEXT)
    return _linked(program, bpf.PROG_TYPE_SCHED_CLS, bpf.ATTACH_TCX_INGRESS, _LOOPBACK, 0)


def _redirect_program(attach_type: int) -> Callable[[], str]:
    def trial() -> str:
        return _with_program(
            bpf.returning(bpf.XDP_PASS), bpf.PROG_TYPE_XDP, attach_type, lambda program: None
        )

    return trial


def _live_frames() -> str:
    def use(program: int) -> None:
        bpf.prog_test_run(program, bytes(64), repeat=_LIVE_FRAMES, live=True)

    return _with_program(bpf.returning(_XDP_DROP), bpf.PROG_TYPE_XDP, 0, use)


def _veth(ip: Any, name: str, peer: str) -> int:
    ip.link("add", ifname=name, kind="veth", peer={"ifname": peer})
    return int(ip.link_lookup(ifname=name)[0])


_TRIALS = (
    Trial(
        "overlay devices",
        _devices,
        "veth, bridge and VXLAN: the lab is made of them",
        "type 'modprobe -a veth bridge vxlan', or boot a kernel that has them",
    ),
    Trial(
        "XDP links",
        _xdp_link,
        "a killed controller takes its programs with it",
        "kernel 5.9 with CONFIG_BPF_SYSCALL",
    ),
    Trial(
        "native XDP on veth",
        _native_xdp,
        "the NIC stage runs before any skb is made",
        "kernel 5.9 with CONFIG_VETH",
    ),
    Trial(
        "cpumap programs",
        _redirect_program(bpf.ATTACH_XDP_CPUMAP),
        "the worker stage runs on the core a packet was handed to",
        "kernel 5.9",
    ),
    Trial(
        "devmap programs",
        _redirect_program(bpf.ATTACH_XDP_DEVMAP),
        "delivery into a container's veth",
        "kernel 5.8",
        needed=False,
    ),
    Trial(
        "live frames",
        _live_frames,
        "the wire: test runs whose packets are real",
        "kernel 5.18",
    ),
    Trial(
        "tcx links",
        _tcx_link,
        "the delivery 'peer'; without them only 'veth'",
        "kernel 6.6",
        needed=False,
    ),
)
