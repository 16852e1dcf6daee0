"""What the wire sends: flows, packet sizes, rates and arrivals; and the frames that they need."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.lab_plan import Endpoint, Lab
from steering.errors import BadInput, unknown
from steering.layout import header
from steering.policy import Knob, read_knobs
from steering.spec import Spec

STAMP_BYTES = 18
TCP_STAMP_BYTES = 16
SINK_PORT = 7000
_FIRST_PORT = 20000
_UDP_CHECK, _TCP_CHECK = 6, 16
"""Where the checksum stands in the header."""
# A live frame shares a page with headroom and skb_shared_info (net/bpf/test_run.c).
_LARGEST_FRAME = 3400
_GAPS = header("wire.h").constants["WIRE_GAPS"]
_MOST_FLOWS = {
    "iperf3": 64,
    "udp": header("wire.h").constants["WIRE_MAX_FLOWS"],
    "tcp": header("wire_tcp.h").constants["TCP_WIRE_MAX_FLOWS"],
}

_COMMON = {
    "batch": Knob(128, 1, 256, "packets", "frames that the NIC hands up together"),
    "us": Knob(0, 0, 10000, "us", "moderation: the first frame waits that long for others"),
    "frames": Knob(0, 0, 256, "packets", "moderation: or until so many are due; 0: batch"),
    "train": Knob(1, 1, 65536, "packets", "consecutive packets of one flow, with several flows"),
    "heavy": Knob(0, 0, 65536, "packets", "of the first flow, the elephant; 0: as the others"),
}
KINDS: dict[str, dict[str, Knob]] = {
    "udp": {},
    "tcp": {
        "timestamps": Knob(1, 0, 1, "0/1", "segments carry timestamps (RFC 7323)"),
        "first": Knob(0, 0, 0xFFFFFFFF, "", "first sequence number; 0: as the kernel draws it"),
        "lost": Knob(0, 0, 500_000, "ppm", "segments that the wire loses on purpose"),
        "doubled": Knob(0, 0, 250_000, "ppm", "segments that it sends twice"),
        "overtaken": Knob(0, 0, 250_000, "ppm", "segments that it sends three late"),
    },
    "iperf3": {
        "lost": Knob(0, 0, 500_000, "ppm", "segments that the wire loses on purpose"),
        "udp": Knob(0, 0, 1, "0/1", "datagrams of the payload's size, fragmented above one frame"),
        "length": Knob(0, 0, 1 << 20, "bytes", "that it writes at a time; 0: as it likes"),
    },
}
"""Kinds of traffic and their knobs."""
ARRIVALS: dict[str, dict[str, Knob]] = {
    "constant": _COMMON,
    "poisson": _COMMON,
    "bursts": {**_COMMON, "burst": Knob(32, 1, 65536, "packets", "packets due at one time")},
}
"""Knobs of each kind of arrivals."""


@dataclass(frozen=True)
class Traffic:
    """What is sent. ``rate`` in packets a second over all flows; None: as fast as it goes."""

    payload: int = STAMP_BYTES
    flows: int = 1
    rate: int | None = None
    arrivals: Spec = field(default_factory=lambda: Spec("constant"))
    seed: int = 1
    kind: Spec = field(default_factory=lambda: Spec("udp"))

    def __post_init__(self) -> None:
        _ = self.details
        if self.payload < STAMP_BYTES:
            raise BadInput(f"payload {self.payload}: at least {STAMP_BYTES} bytes, for the stamp")
        most = _MOST_FLOWS[self.protocol]
        if not 1 <= self.flows <= most:
            raise BadInput(f"flows {self.flows} is out of range: 1 to {most}")
        if self.rate is not None and self.rate < 1:
            raise BadInput(f"rate {self.rate}: at least 1 packet a second")
        _ = self.knobs

    @property
    def protocol(self) -> str:
        """``udp`` or ``tcp``."""
        return self.kind.name

    @property
    def details(self) -> dict[str, int]:
        """The knobs of its kind with their values."""
        if self.kind.name not in KINDS:
            raise unknown("traffic", self.kind.name, KINDS)
        return read_knobs(f"traffic '{self.kind.name}'", KINDS[self.kind.name], self.kind.args)

    @property
    def knobs(self) -> dict[str, int]:
        """The arrivals' knobs with their values."""
        name = self.arrivals.name
        if name not in ARRIVALS:
            raise unknown("arrivals", name, ARRIVALS)
        return read_knobs(f"arrivals '{name}'", ARRIVALS[name], self.arrivals.args)

    def at(self, rate: int | None) -> "Traffic":
        """The same at another rate."""
        return replace(self, rate=rate)


@dataclass(frozen=True)
class Pace:
    """One wire thread's arrivals as struct wire_settings has them (ns and packets)."""

    gap: int
    hold: int
    batch: int
    burst: int
    train: int
    random: int


def pace(traffic: Traffic, share: float) -> Pace:
    """Arrivals of a thread that sends ``share`` of the rate.

    Moderation holds a release until ``us`` have passed or ``frames`` are due, whichever is first;
    without it, until a batch is due.
    """
    knobs = traffic.knobs
    burst = knobs.get("burst", 1)
    if traffic.rate is None or share == 0:
        return Pace(0, 0, knobs["batch"], burst, knobs["train"], 0)
    gap = burst * 1e9 / (traffic.rate * share)
    fill = (knobs["frames"] or knobs["batch"]) - 1
    hold = fill * gap / burst
    if knobs["us"]:
        hold = min(hold, knobs["us"] * 1e3)
    random = int(traffic.arrivals.name == "poisson")
    return Pace(max(1, round(gap)), round(hold), knobs["batch"], burst, knobs["train"], random)


def weights(traffic: Traffic) -> list[int]:
    """Packets that each flow sends in its turn."""
    train = traffic.knobs["train"]
    return [traffic.knobs["heavy"] or train, *[train] * (traffic.flows - 1)]


def gaps(mean: float) -> NDArray[np.uint32]:
    """Quantiles of exponential gaps with this mean in ns: shape (4096,)."""
    middle = (np.arange(_GAPS) + 0.5) / _GAPS
    quantiles = -np.log1p(-middle)
    drawn: NDArray[np.uint32] = np.rint(quantiles * (mean / quantiles.mean())).astype(np.uint32)
    return drawn


@dataclass(frozen=True)
class Frame:
    """One flow's frame: all of it, how long its headers are, its outer 4-tuple for RSS."""

    data: bytes
    header_bytes: int
    sum: int
    """Of what the UDP checksum covers, but the stamp's sequence and time (RFC 768, unfolded)."""
    addresses: bytes
    ports: bytes


def frames(lab: Lab, traffic: Traffic, run: int) -> list[Frame]:
    """The frames of all flows; flow i goes to endpoint i modulo their number.

    Those of TCP say nothing yet of sequence, acknowledgement and time.

    Raises:
        BadInput: the packets do not fit the lab's MTU or a live frame.
    """
    made = [_frame(lab, end, traffic, index, run) for index, end in talkers(lab, traffic)]
    size = len(made[0].data)
    overhead = made[0].header_bytes
    largest = min(lab.spec.mtu + 14, _LARGEST_FRAME)
    if size > largest:
        raise BadInput(
            f"payload {traffic.payload} makes a frame of {size} bytes, the wire takes {largest}: "
            f"at most {largest - overhead}, or a larger --mtu"
        )
    return made


def talkers(lab: Lab, traffic: Traffic) -> Sequence[tuple[int, Endpoint]]:
    """Each flow's number and where it goes."""
    ends = lab.endpoints
    return [(index, ends[index % len(ends)]) for index in range(traffic.flows)]


def port_of(flow: int) -> int:
    """From which a flow is sent."""
    return _FIRST_PORT + flow


def _frame(lab: Lab, end: Endpoint, traffic: Traffic, index: int, run: int) -> Frame:
    from scapy.layers.inet import IP, UDP
    from scapy.layers.inet6 import IPv6
    from scapy.layers.l2 import Ether
    from scapy.layers.vxlan import VXLAN

    payload = traffic.payload
    if traffic.protocol == "tcp":
        made = bytes(_segment(traffic, index))
        number, check = 6, _TCP_CHECK
    else:
        made = bytes(_datagram(payload, index, run))
        number, check = 17, _UDP_CHECK
    made = made[:check] + b"\0\0" + made[check + 2 :]
    ip = _ip(IP, IPv6, end.peer_ip, end.ip, number)
    inner = bytes(Ether(src=end.peer_mac, dst=end.mac) / ip / made)
    total = _sum(_pseudo(end.peer_ip, end.ip, len(made), number)) + _sum(made)
    if lab.spec.case == "native":
        addresses = _addresses(end.peer_ip, end.ip)
        return Frame(inner, len(inner) - payload, total, addresses, made[:4])
    # As the kernel's udp_flow_src_port() does: the inner flow picks the outer source port.
    source = 49152 + zlib.crc32(made[:4] + end.ip.encode()) % 16384
    outer: Any = Ether(src=lab.wire_mac, dst=lab.nic_mac)
    outer /= _ip(IP, IPv6, lab.remote_vtep_ip, lab.vtep_ip, 17)
    # Over IPv4 senders leave the outer checksum out (RFC 7348). Over IPv6 it is the same for all
    # packets of a flow: an intact inner packet adds up to what its headers say.
    zero = lab.spec.outer == 4 or traffic.protocol == "tcp"
    outer /= UDP(sport=source, dport=lab.port, **({"chksum": 0} if zero else {}))
    if traffic.protocol == "udp":
        inner = _whole(inner, payload, total)
    data = bytes(outer / VXLAN(vni=lab.spec.vni, flags=8) / inner)
    addresses = _addresses(lab.remote_vtep_ip, lab.vtep_ip)
    ports = source.to_bytes(2, "big") + lab.port.to_bytes(2, "big")
    return Frame(data, len(data) - payload, total, addresses, ports)


def _datagram(payload: int, index: int, run: int) -> Any:
    from scapy.layers.inet import UDP

    body = np.zeros(payload, np.uint8)
    body[:6] = np.frombuffer(np.uint32(run).tobytes() + np.uint16(index).tobytes(), np.uint8)
    return UDP(sport=port_of(index), dport=SINK_PORT, len=payload + 8) / body.tobytes()


def _segment(traffic: Traffic, index: int) -> Any:
    from scapy.layers.inet import TCP

    options = [("NOP", None), ("NOP", None), ("Timestamp", (0, 0))]
    return TCP(
        sport=port_of(index),
        dport=SINK_PORT,
        seq=0,
        ack=0,
        flags="A",
        window=512,
        options=options if traffic.details["timestamps"] else [],
    ) / filler(traffic.payload)


def filler(payload: int) -> bytes:
    """What a TCP segment's payload holds behind its stamp (zeros here): byte i is TCP_FILL(i)."""
    body = (np.arange(payload) * 167 + 13).astype(np.uint8)
    body[:TCP_STAMP_BYTES] = 0
    return body.tobytes()


def _ip(ip4: Any, ip6: Any, source: str, target: str, number: int) -> Any:
    if ":" in source:
        return ip6(src=source, dst=target, nh=number)
    return ip4(src=source, dst=target, id=0, flags="DF", proto=number)


def _addresses(source: str, target: str) -> bytes:
    import ipaddress

    return ipaddress.ip_address(source).packed + ipaddress.ip_address(target).packed


def _pseudo(source: str, target: str, length: int, number: int) -> bytes:
    return _addresses(source, target) + length.to_bytes(4, "big") + b"\0\0\0" + bytes([number])


def _whole(inner: bytes, payload: int, total: int) -> bytes:
    """With its UDP checksum: the outer one is made from it."""
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    check = (~total & 0xFFFF or 0xFFFF).to_bytes(2, "little")
    at = len(inner) - payload - 2
    return inner[:at] + check + inner[at + 2 :]


def _sum(data: bytes) -> int:
    """Of 16-bit words in this machine's order, unfolded: the sum does not care (RFC 1071)."""
    padded = data + b"\0" * (len(data) % 2)
    return int(np.frombuffer(padded, np.uint16).astype(np.uint64).sum())
