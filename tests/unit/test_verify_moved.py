"""An answer to a sender that was seen behind several VTEPs may go to any; that is all."""

from collections import Counter
from collections.abc import Iterable

import pytest
from scapy.layers.inet import IP, UDP, IPOption_NOP
from scapy.layers.inet6 import ICMPv6ND_NS, IPv6, IPv6ExtHdrDestOpt
from scapy.layers.l2 import ARP, Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet

from bench.verify_moved import Places, Sights, without_answers_to_moved

OURS, HERE, THERE = "198.18.0.2", "198.18.0.1", "198.82.0.1"
WANDERER, SETTLED, CONTAINER = "02:00:00:00:99:99", "02:00:00:00:11:11", "02:05:03:00:00:01"


def tunnelled(
    source: str, target: str, sender: str, receiver: str, load: bytes, options: bool = False
) -> bytes:
    six = ":" in source
    outer: Packet = IPv6(src=source, dst=target) if six else IP(src=source, dst=target)
    if options:
        outer = outer / IPv6ExtHdrDestOpt() if six else IP(src=source, dst=target, options=NOP)
    inner = Ether(src=sender, dst=receiver) / IP() / UDP() / load
    head = UDP(sport=49152, dport=4789) / VXLAN(vni=42)
    return bytes(Ether(dst="02:00:00:00:00:01", src="02:00:00:00:00:02") / outer / head / inner)


def batch(sender: str) -> list[bytes]:
    return [tunnelled(vtep, OURS, sender, CONTAINER, b"ask") for vtep in (HERE, THERE)]


def answer(vtep: str, receiver: str, load: bytes = b"answer") -> Sights:
    return Counter({("wire", tunnelled(OURS, vtep, CONTAINER, receiver, load)): 1})


NOTHING: Sights = Counter()
NOP = [IPOption_NOP()] * 4


def judged(frames: Iterable[bytes], missing: Sights, more: Sights) -> tuple[Sights, Sights, int]:
    places = Places()
    places.see(frames)
    return without_answers_to_moved(places, missing, more)


def test_an_answer_goes_to_either_place() -> None:
    frames = batch(WANDERER) + batch(SETTLED)[:1]
    found = judged(frames, answer(HERE, WANDERER), answer(THERE, WANDERER))
    assert found == (NOTHING, NOTHING, 1)


@pytest.mark.parametrize(
    ("missing", "more"),
    [
        (answer(HERE, SETTLED), answer(THERE, SETTLED)),
        (answer(HERE, WANDERER), answer(THERE, WANDERER, b"another")),
        (answer(HERE, WANDERER), NOTHING),
        (NOTHING, answer(THERE, WANDERER)),
    ],
    ids=["another receiver", "another answer", "no answer", "an answer too many"],
)
def test_what_is_none_of_that_stays(missing: Sights, more: Sights) -> None:
    frames = batch(WANDERER) + batch(SETTLED)[:1]
    assert judged(frames, missing, more) == (missing, more, 0)


def test_nobody_has_moved() -> None:
    missing, more = answer(HERE, WANDERER), answer(THERE, WANDERER)
    assert judged(batch(WANDERER)[:1], missing, more) == (missing, more, 0)


def test_the_way_there_is_looked_for() -> None:
    broadcast = "ff:ff:ff:ff:ff:ff"
    asked, other = (
        Counter({("wire", bytes(Ether(dst=broadcast) / ARP(psrc=OURS, pdst=vtep))): 1})
        for vtep in (THERE, "198.18.0.77")
    )
    assert judged(batch(WANDERER), NOTHING, asked) == (NOTHING, NOTHING, 0)
    assert judged(batch(WANDERER), NOTHING, other) == (NOTHING, other, 0)


def test_an_outer_header_may_have_options() -> None:
    frames = batch(WANDERER)[:1]
    frames.append(tunnelled(THERE, OURS, WANDERER, CONTAINER, b"ask", options=True))
    found = judged(frames, answer(HERE, WANDERER), answer(THERE, WANDERER))
    assert found == (NOTHING, NOTHING, 1)


@pytest.mark.parametrize("options", [False, True])
def test_the_same_over_ipv6(options: bool) -> None:
    ours, here, there = "fd00::2", "fd00::1", "fd00::7"
    frames = [tunnelled(vtep, ours, WANDERER, CONTAINER, b"ask", options) for vtep in (here, there)]
    missing, more = (
        Counter({("wire", tunnelled(ours, vtep, CONTAINER, WANDERER, b"answer")): 1})
        for vtep in (here, there)
    )
    more["wire", bytes(Ether() / IPv6(dst="ff02::1:ff00:7") / ICMPv6ND_NS(tgt=there))] = 1
    assert judged(frames, missing, more) == (NOTHING, NOTHING, 1)
