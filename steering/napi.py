"""What polls a device: its NAPI instances, asked of the kernel by generic netlink (family ``netdev``).

In the network namespace that the calling thread is in. Linux 6.8 tells; an older one tells nothing.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import ClassVar

from pyroute2.netlink import NLM_F_DUMP, NLM_F_REQUEST, genlmsg
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.generic import GenericNetlinkSocket

from steering import bpf, netns
from steering.bpf import Kind, Link, Program, returning

_NAPI_GET = 11
"""NETDEV_CMD_NAPI_GET of include/uapi/linux/netdev.h."""


class _Message(genlmsg):  # type: ignore[misc]  # pyroute2 has no types
    nla_map: ClassVar = (
        (1, "IFINDEX", "uint32"),
        (2, "ID", "uint32"),
        (3, "IRQ", "uint32"),
        (4, "PID", "uint32"),
    )


def threads(device: str) -> list[int]:
    """The ids of the kernel threads that poll it, in the order of its instances; none: softirqs do.

    By their names they can't be told: devices of other namespaces have the same. OversprayError: no device.
    """
    wanted = _Message()
    wanted["cmd"], wanted["version"] = _NAPI_GET, 1
    wanted["attrs"] = [("IFINDEX", netns.index(device))]
    with closing(GenericNetlinkSocket()) as socket:
        try:
            socket.bind("netdev", _Message)
            flags = NLM_F_REQUEST | NLM_F_DUMP
            found = [*socket.nlm_request(wanted, msg_type=socket.prid, msg_flags=flags)]
        except NetlinkError:
            return []
    instances = {each.get_attr("ID"): each.get_attr("PID") for each in found}
    return [instances[number] for number in sorted(instances) if instances[number]]


@contextmanager
def there(device: str) -> Iterator[None]:
    """Until the block ends it has instances, if an XDP program gives it some, as it does a veth.

    OversprayError where the device takes none. The program is gone with this process, however that ends.
    """
    with (
        Program(returning(bpf.XDP_PASS), Kind.XDP) as program,
        Link(program.fd, netns.index(device), bpf.ATTACH_XDP, bpf.XDP_NATIVE),
    ):
        yield
