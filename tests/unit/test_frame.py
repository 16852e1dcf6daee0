"""The frame that the wire repeats."""

import struct

import pytest
from scapy.layers.inet import UDP
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN  # noqa: F401  so that scapy looks into tunnels

from bench.frame import build
from bench.lab_plan import Plan
from bench.traffic import LARGEST, SMALLEST, Traffic
from steering.errors import BadInput


def folded(data: bytes) -> int:
    """RFC 1071, in the machine's byte order."""
    total = sum(struct.unpack(f"={len(data) // 2 + len(data) % 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@pytest.mark.parametrize("payload", [SMALLEST, 19, 64, 1399, LARGEST])
def test_it_has_room_for_the_stamp_and_the_sum_of_the_rest(payload: int) -> None:
    plan = Plan(inner_mtu=3400)
    frame = build(plan, payload)
    assert len(frame.data) == 42 + payload
    assert frame.header_bytes == 42
    assert frame.data[42 : 42 + SMALLEST] == bytes(SMALLEST)
    assert frame.data[34:36] == frame.data[40:42] == b"\0\0", "source port and checksum"
    addresses = bytes(int(part) for part in f"{plan.wire_ip}.{plan.nic_ip}".split("."))
    pseudo = addresses + struct.pack(">HH", 17, 8 + payload)
    assert frame.sum % 0xFFFF == folded(pseudo + frame.data[34:]) % 0xFFFF


@pytest.mark.parametrize(
    "plan", [Plan(), *(Plan("flannel", 1, inner, outer) for inner in (4, 6) for outer in (4, 6))]
)
def test_with_its_checksums_it_is_what_scapy_sends(plan: Plan) -> None:
    frame = build(plan, 19)
    read = Ether(frame.checked)
    layers = [layer for layer in (read.getlayer(UDP, 1), read.getlayer(UDP, 2)) if layer]
    assert len(layers) == 1 + plan.has_tunnel
    for layer in layers:
        if layer.chksum:
            layer.chksum = None  # scapy works it out anew
    assert bytes(read) == frame.checked
    assert layers[-1].chksum is None and bool(frame.outer_sum) == (plan.has_tunnel and plan.outer == 6)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"payload": SMALLEST - 1}, "payload 17 is out of range: choose from 18 to 3350"),
        ({"payload": LARGEST + 1}, "payload 3351 is out of range: choose from 18 to 3350"),
        ({"flows": 0}, "flows 0 is out of range: choose from 1 to 4096"),
        ({"batch": 257}, "batch 257 is out of range: choose from 1 to 256"),
    ],
)
def test_what_does_not_fit_is_refused(wrong: dict[str, int], told: str) -> None:
    with pytest.raises(BadInput, match=told):
        Traffic(**wrong)


@pytest.mark.parametrize(
    ("plan", "payload", "most"),
    [
        (Plan("flannel"), 1473, 1472),  # of an MTU of 1500 (RFC 768, RFC 791)
        (Plan("linux", inner_mtu=3400), 3301, 3300),  # of the largest frame
        (Plan("native", inner_mtu=1450), 1423, 1422),
    ],
)
def test_a_datagram_beyond_mtu_or_frame_is_refused(plan: Plan, payload: int, most: int) -> None:
    build(plan, most)
    with pytest.raises(BadInput, match=rf"payload {payload} does not fit .*: choose {most} or less"):
        build(plan, payload)
