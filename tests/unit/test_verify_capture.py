"""Frames of captures as they are put into a lab's tunnel."""

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet

from bench.lab_plan import LabSpec, plan
from bench.verify_capture import put_inside


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("protocol", [TCP(dport=80), UDP(dport=9), ICMPv6EchoRequest()])
def test_checksums_that_held_hold_again(version: int, protocol: Packet) -> None:
    """Scapy's own sums are the oracle; one that was wrong stays wrong."""
    network = IP() if version == 4 else IPv6()
    if version == 4 and isinstance(protocol, ICMPv6EchoRequest):
        protocol = ICMP()
    lab = plan(LabSpec("linux", "twin", 1, inner=version))
    frame = bytes(Ether(dst="02:00:00:00:00:07") / network / protocol / b"some load")
    [inner] = [Ether(each)[VXLAN].payload for each in put_inside([frame], lab)]
    end = lab.endpoints[0]
    assert (inner.src, inner.dst) == (end.peer_mac, end.mac)
    assert (inner.payload.src, inner.payload.dst) == (end.peer_ip, end.ip)
    again = inner.copy()
    for layer in (again.payload, again.payload.payload):
        for name in ("chksum", "cksum"):
            if name in layer.fields:
                del layer.fields[name]
    assert bytes(Ether(bytes(again))) == bytes(inner)
    wrong = frame[:-1] + b"?"
    [kept] = [Ether(each)[VXLAN].payload for each in put_inside([wrong], lab)]
    assert bytes(kept)[:-1] == bytes(inner)[:-1]


@pytest.mark.parametrize("size", range(55))
def test_a_frame_that_is_cut_off_goes_in_as_it_is(size: int) -> None:
    lab = plan(LabSpec("linux", "twin", 1))
    frame = bytes(Ether(dst="02:00:00:00:00:07") / IP() / TCP())[:size]
    [outer] = put_inside([frame], lab)
    inner = outer[-size:] if size else b""
    assert len(outer) == 50 + size
    assert inner[34:] == frame[34:] or size >= 52  # where its checksum is


def test_a_group_keeps_its_address() -> None:
    lab = plan(LabSpec("linux", "twin", 1))
    frame = Ether(dst="01:00:5e:00:00:fb") / IP(dst="224.0.0.251") / UDP(dport=5353) / b"who"
    [outer] = put_inside([bytes(frame)], lab)
    inner = Ether(outer)[VXLAN].payload
    assert (inner.dst, inner[IP].dst) == ("01:00:5e:00:00:fb", "224.0.0.251")
    assert inner[IP].src == lab.endpoints[0].peer_ip
