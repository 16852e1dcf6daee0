"""What hangs on a device besides packet filters: tc, XDP and captures."""

import ctypes
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyroute2.netlink.rtnl import RTM_GETQDISC, RTM_GETTFILTER
from pyroute2.netlink.rtnl.tcmsg import tcmsg

from steering import bpf
from steering.netns import entered
from steering.overlay.namespaces import HeldNamespace
from steering.overlay.netlink import Netlink, NetlinkError
from steering.overlay.view import Link

INGRESS, EGRESS = "ingress", "egress"
# Root qdiscs that only queue; whatever else there is shapes, drops or delays on purpose.
_QUEUES = frozenset(["noqueue", "pfifo", "bfifo", "pfifo_fast", "fq", "fq_codel", "sfq", "mq"])
_PARENTS = {INGRESS: 0xFFFFFFF2, EGRESS: 0xFFFFFFF3}
_PROG_QUERY, _MOST_PROGRAMS = 16, 64
_TCX = {INGRESS: bpf.ATTACH_TCX_INGRESS, EGRESS: bpf.ATTACH_TCX_EGRESS}


def traffic_control(
    netlink: Netlink, link: Link, direction: str, own: frozenset[int]
) -> Iterator[str]:
    """What tc would have done with packets that go in or out of a device.

    ``netlink`` is of the device's namespace, and so must be the calling thread (bpf(2) knows no
    other way to say which device is meant). ``own`` are the ids of our programs.
    """
    classful = False
    for qdisc in netlink.dump(RTM_GETQDISC, _about(link)):
        # The kernel lists all devices' qdiscs, whichever one is asked about.
        if qdisc["index"] != link.index:
            continue
        kind = qdisc.get_attr("TCA_KIND")
        classful |= kind in ("clsact", "ingress")
        if direction == EGRESS and qdisc["parent"] == 0xFFFFFFFF and kind not in _QUEUES:
            yield f"qdisc {kind} on {link.name}"
    if classful and (filters := _filters(netlink, link, direction)):
        yield f"tc {direction} filter on {link.name}: {', '.join(filters)}"
    programs = [ident for ident in programs_at(link.index, _TCX[direction]) if ident not in own]
    if programs:
        yield f"tc {direction} program on {link.name}: id {', '.join(map(str, programs))}"


def programs_at(ifindex: int, attach_type: int) -> list[int]:
    """The ids of the programs attached to a device of the thread's namespace (BPF_PROG_QUERY).

    Empty where the kernel does not know the attach type (tcx: before 6.6).
    """
    ids = (ctypes.c_uint32 * _MOST_PROGRAMS)()
    request = struct.pack("=4IQI", ifindex, attach_type, 0, 0, ctypes.addressof(ids), len(ids))
    answer = ctypes.create_string_buffer(request.ljust(64, b"\0"), 64)
    try:
        bpf._bpf(_PROG_QUERY, answer, f"list programs at interface {ifindex}")
    except bpf.BpfError:
        return []
    (count,) = struct.unpack_from("=I", answer.raw, 24)
    return list(ids[:count])


def _filters(netlink: Netlink, link: Link, direction: str) -> list[str]:
    request = _about(link)
    request["parent"] = _PARENTS[direction]
    try:
        found = netlink.dump(RTM_GETTFILTER, request)
    except NetlinkError:  # the qdisc went meanwhile
        return []
    # Each filter of u32 and the like is listed with the tables behind it: a kind is said once.
    return list(dict.fromkeys(message.get_attr("TCA_KIND") or "?" for message in found))


def _about(link: Link) -> Any:
    request = tcmsg()
    request["index"] = link.index
    return request


def captures(ns: HeldNamespace, links: list[Link]) -> Iterator[str]:
    """Packet sockets (tcpdump and the like) that would have seen the packets of these devices."""
    names = {link.index: link.name for link in links}
    with entered(ns.path):
        text = Path("/proc/thread-self/net/packet").read_text()
    for index, kind in parse_packet_sockets(text):
        if kind and (not index or index in names):
            yield f"packet capture on {names.get(index, 'any device')}"


def parse_packet_sockets(text: str) -> list[tuple[int, int]]:
    """(interface or 0, protocol) of each packet socket in /proc/net/packet.

    A socket of protocol 0 only sends.
    """
    rows = (line.split() for line in text.splitlines()[1:])
    return [(int(row[4]), int(row[3], 16)) for row in rows if len(row) > 4]
