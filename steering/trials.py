"""What the kernel can do, found by doing it once in a nameless namespace that ends with the trial.

Each function is called in such a namespace; it returns words for the doctor's table, or raises. The programs
are raw instructions, so that they are tried without a compiler, in milliseconds.
"""

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pyroute2 import IPRoute
from pyroute2.ethtool.ioctl import IoctlEthtool

from steering import bpf, cores, napi, sysfs
from steering.bpf import CpuMap, Kind, Link, Program, Tracepoint, returning
from steering.compile import Module
from steering.errors import OversprayError
from steering.settings import Attribute, Feature, NapiCores, RpsFlows, Setting, Threaded

TRACEPOINTS = (
    "xdp_cpumap_enqueue",
    "xdp_cpumap_kthread",
    "xdp_devmap_xmit",
    "xdp_redirect_err",
)
"""What the kernel drops behind XDP, only these tell."""
_LOOPBACK = 1
_DEVICE = "a0"
_FRAMES, _PAYLOAD, _HEADERS = 8, 64, 42
# For these bytes alone the library that can make them would be loaded, for half a second: a test compares.
_LINK = bytes.fromhex("020000000002 020000000001 0800")
_IP = bytes.fromhex("4500005c 00004000 4011ae69 c6120001 c6120002")
_UDP = bytes.fromhex("00090009 00487324")
_DEADLINE_S = 20.0


def load() -> str:
    """The smallest program there is."""
    with Program(returning(bpf.XDP_PASS), Kind.XDP):
        return "a program was loaded"


def compiler() -> str:
    """bcc, its headers and the verifier, on one of our own programs."""
    # Compiled anew, for the name is: what others compiled says nothing of this moment.
    with Module("seen.bpf.c", defines={f"TRIAL_{time.monotonic_ns()}": 1}) as module:
        module.load("drop", Kind.XDP)
    import bcc

    return f"{bcc.__version__}, compiled and loaded a program"


def devices() -> str:
    """One each of the devices that an overlay is made of."""
    with IPRoute() as ip:
        ip.link("add", ifname="br0", kind="bridge")
        ip.link("add", ifname="vxlan0", kind="vxlan", vxlan_id=1, vxlan_port=4789)
        _veth(ip)
    return "veth, bridge and VXLAN were made"


def native_xdp() -> str:
    """A native XDP link on a veth."""
    with IPRoute() as ip:
        index = _veth(ip)
    with (
        Program(returning(bpf.XDP_PASS), Kind.XDP) as program,
        Link(program.fd, index, bpf.ATTACH_XDP, bpf.XDP_NATIVE),
    ):
        return "a program was attached by a link"


def live_frames() -> str:
    """Frames that are really there: a packet socket behind the program sees them."""
    with _listening() as (seen, index), Program(returning(bpf.XDP_PASS), Kind.XDP) as program:
        _run_live(program.fd, index)
        packets = _count_until(seen, _FRAMES)
    return f"{packets} frames were made, and arrived"


def cpumap_program() -> str:
    """A program that runs on the core a frame was handed to, and passes it on."""
    with _listening() as (seen, index):
        _through_a_worker(seen, index)
    return f"{_FRAMES} frames passed a worker on core {_a_core()}"


def cpumap_gro() -> str:
    """Whether datagrams of one flow leave a worker as fewer packets than went in."""
    with _listening() as (seen, index):
        _merge_datagrams(_DEVICE)
        packets = _through_a_worker(seen, index)
    if packets == _FRAMES:
        raise OversprayError(f"{_FRAMES} datagrams came out as {packets}")
    return f"{_FRAMES} datagrams came out as {packets}"


def tc_link() -> str:
    """A tc program held by a link (tcx)."""
    with (
        Program(returning(bpf.TCX_NEXT), Kind.TC) as program,
        Link(program.fd, _LOOPBACK, bpf.ATTACH_TCX_INGRESS),
    ):
        return "a program was attached by a link"


def tracepoints() -> str:
    """Raw tracepoints, one after the other."""
    for name in TRACEPOINTS:
        with Program(returning(0), Kind.RAW_TRACEPOINT) as program, Tracepoint(program.fd, name):
            pass
    return f"all {len(TRACEPOINTS)} that are used"


def rps() -> str:
    """A receive packet steering mask, set and read again."""
    mask = "class/net/lo/queues/rx-0/rps_cpus"
    with sysfs.opened() as root:
        sysfs.write(root, mask, "1")
        if int(sysfs.read(root, mask).replace(",", ""), 16) != 1:
            raise OversprayError("a mask was written, and is not there")
    return "a mask was set"


def rfs() -> str:
    """A queue's table of flows; that of the machine's sockets comes with it."""
    return _taken(RpsFlows("lo"), "64")


def deferral() -> str:
    """A timer that polls, on a veth."""
    with IPRoute() as ip:
        _veth(ip)
    _taken(Attribute(_DEVICE, "gro_flush_timeout"), "20000")
    return _taken(Attribute(_DEVICE, "napi_defer_hard_irqs"), "1")


def threaded() -> str:
    """Threads that poll a veth, and cores for them."""
    with IPRoute() as ip:
        _veth(ip)
    with napi.there(_DEVICE):
        Threaded(_DEVICE).write("1")
        return _taken(NapiCores(_DEVICE), f"{1 << _a_core():x}")


def udp_forward() -> str:
    """A NIC that merges datagrams that are not for this host."""
    with IPRoute() as ip:
        _veth(ip)
    return _taken(Feature(_DEVICE, "rx-udp-gro-forwarding"), "on")


def _taken(setting: Setting, value: str) -> str:
    """The setting, set: what is not kept raises."""
    setting.write(value)
    return f"{setting} was set"


def _veth(ip: IPRoute) -> int:
    """A veth pair a0, a1, both up; returns the index of a0."""
    ip.link("add", ifname=_DEVICE, kind="veth", peer={"ifname": "a1"})
    indexes = [int(ip.link_lookup(ifname=name)[0]) for name in (_DEVICE, "a1")]
    for index in indexes:
        ip.link("set", index=index, state="up")
    return indexes[0]


@contextmanager
def _listening() -> Iterator[tuple[socket.socket, int]]:
    """A device that is up, with a packet socket on it; and its index."""
    with IPRoute() as ip, socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as seen:
        index = _veth(ip)
        seen.bind((_DEVICE, 0x0800))
        seen.settimeout(_DEADLINE_S)
        yield seen, index


def _through_a_worker(seen: socket.socket, index: int) -> int:
    """Redirect the frames to a core; returns the number of packets that they came out as."""
    with Program(returning(bpf.XDP_PASS), Kind.CPUMAP) as passing, CpuMap(cores.possible()) as table:
        table.put(_a_core(), 64, passing.fd)
        with Program(_redirecting(table.fd, _a_core()), Kind.XDP) as program:
            _run_live(program.fd, index)
            return _count_until(seen, _FRAMES)


def _run_live(program: int, index: int) -> None:
    """Some datagrams, all of them in one batch. What a signal cut short would say nothing."""
    frame = datagram()
    if not bpf.run_live(program, frame, _FRAMES, _FRAMES, index):
        raise OversprayError("a signal came between: type it again")


def _count_until(seen: socket.socket, frames: int) -> int:
    """In how many packets so many frames' payload came."""
    packets, payload = 0, frames * _PAYLOAD
    while payload > 0:
        # Merged by list, a packet is its segments' payload one after the other.
        payload -= max(len(seen.recv(1 << 16)) - _HEADERS, 1)
        packets += 1
    return packets


def _merge_datagrams(device: str) -> None:
    """GRO on, and for UDP as well: by lists, for no socket that could take them asks for it."""
    ethtool = IoctlEthtool(device)
    try:
        features = ethtool.get_features()
        for name in ("rx-gro", "rx-gro-list"):
            if name not in features.keys():  # noqa: SIM118 (it is no mapping)
                raise OversprayError(f"this kernel has no {name}")
            features[name] = True
        ethtool.set_features(features)
        now = ethtool.get_features()
        if not (now.is_active("rx-gro") and now.is_active("rx-gro-list")):
            raise OversprayError("GRO could not be turned on")
    finally:
        ethtool.close()


def datagram() -> bytes:
    """A UDP datagram with a checksum: without one, GRO takes each for a flow of its own."""
    return _LINK + _IP + _UDP + bytes(_PAYLOAD)


def _a_core() -> int:
    """One that may be used; not the first, if there are more."""
    if not (usable := cores.usable()):
        raise OversprayError("no core may be used")
    return usable[-1]


def _redirecting(table: int, key: int) -> bytes:
    """``return bpf_redirect_map(table, key, 0)``."""
    return struct.pack(
        "=BBhiBBhiBBhiBBhiBBhi",
        *(0x18, 0x11, 0, table),  # r1 = the map behind that descriptor
        *(0, 0, 0, 0),
        *(0xB7, 2, 0, key),
        *(0xB7, 3, 0, 0),
        *(0x85, 0, 0, 51),
    ) + struct.pack("=BBhi", 0x95, 0, 0, 0)
