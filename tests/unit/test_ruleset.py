"""Would a rule have touched a packet of which not everything is known?"""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steering.overlay.ruleset import Hook, Match, Rule, Ruleset, Sample, Severity, Test, equals
from steering.overlay.xtables import match_tests

HOOK = Hook("ip", 1, "filter", "INPUT")
PACKET = Sample({"l4proto": b"\x11", "transport": [None, None, 0x12, 0xB5], "iifname": b"nic0"})
VXLAN = equals("transport", 2, b"\x12\xb5")
TCP = equals("l4proto", 0, b"\x06")

byte = st.integers(0, 3)
some_bytes = st.lists(byte, min_size=2, max_size=2).map(bytes)


@given(
    known=st.lists(st.none() | byte, min_size=2, max_size=2),
    bounds=st.tuples(some_bytes, some_bytes),
    mask=st.sampled_from([b"\xff\xff", b"\xff\x00", b"\x01\xff", b"\x00\x00"]),
    inverted=st.booleans(),
)
def test_never_and_always_hold_whatever_the_unknown_bytes_are(
    known: list[int | None], bounds: tuple[bytes, bytes], mask: bytes, inverted: bool
) -> None:
    """The judgement on a sample agrees with the plain comparison of every packet it stands for."""
    low, high = min(bounds), max(bounds)
    test = Test("network", 0, low, high, mask, inverted)
    packets = product(*(range(4) if each is None else [each] for each in known))
    plain = {
        (low <= bytes(b & m for b, m in zip(packet, mask, strict=True)) <= high) != inverted
        for packet in packets
    }
    match = test.match(Sample({"network": known}))
    assert plain == {True} if match is Match.ALWAYS else True
    assert plain == {False} if match is Match.NEVER else True
    if None not in known:
        assert match is not Match.MAYBE


def findings(
    *rules: Rule, drops_rest: bool = False, **chains: list[Rule]
) -> list[tuple[Severity, str]]:
    named = {("ip", "filter", name): held for name, held in {"INPUT": rules, **chains}.items()}
    hook = Hook("ip", 1, "filter", "INPUT", drops_rest=drops_rest)
    return list(Ruleset("nftables", (hook,), named).findings(hook, [PACKET]))


def test_a_rule_for_other_packets_is_none_of_ours() -> None:
    assert findings(Rule("r1", (TCP,), verdict="drop")) == []
    assert findings(Rule("r1", (equals("iifname", 0, b"lo"),), verdict="drop")) == []


def test_a_rule_that_drops_ours_is_named() -> None:
    assert findings(Rule("r1", (TCP,), verdict="drop"), Rule("r2", (VXLAN,), verdict="drop")) == [
        ("rule", "nftables ip filter INPUT: r2 (drop)")
    ]


def test_what_cannot_be_told_might_be_ours() -> None:
    rules = (Rule("r1", unclear=True, acts="dnat"), Rule("r2", verdict="drop"))
    assert findings(*rules) == [("rule", "nftables ip filter INPUT: r1 (dnat) and 1 more")]


def test_what_comes_after_a_sure_accept_is_not_reached() -> None:
    accept = Rule("r1", (VXLAN,), verdict="accept")
    assert findings(accept, Rule("r2", verdict="drop"), drops_rest=True) == []
    unsure = Rule("r1", (VXLAN,), unclear=True, verdict="accept")
    assert findings(unsure, drops_rest=True) == [
        ("rule", "nftables ip filter INPUT: the policy (drop)")
    ]


def test_counting_is_only_noted() -> None:
    assert findings(Rule("r1", counts=True, verdict="accept")) == [
        ("note", "nftables ip filter INPUT: counts or logs packets")
    ]
    assert findings(Rule("r1", (TCP,), counts=True)) == []


@pytest.mark.parametrize(
    ("verdict", "inside", "touched"),
    [
        ("jump", "return", True),
        ("jump", "accept", False),
        ("jump", "", True),
        ("goto", "return", False),
        ("goto", "", False),
    ],
)
def test_jumps_come_back_and_gotos_do_not(verdict: str, inside: str, touched: bool) -> None:
    rules = (Rule("r1", verdict=verdict, target="SUB"), Rule("r2", verdict="drop"))
    found = findings(*rules, SUB=[Rule("s1", verdict=inside)] if inside else [])
    assert bool(found) is touched


def test_a_rule_in_a_chain_that_others_jump_to() -> None:
    sub = [Rule("s1", (TCP,), acts="dnat"), Rule("s2", (VXLAN,), acts="mark")]
    assert findings(Rule("r1", unclear=True, verdict="jump", target="SUB"), SUB=sub) == [
        ("rule", "nftables ip filter INPUT: s2 (mark)")
    ]


def test_ports_of_an_iptables_extension() -> None:
    # struct xt_udp: source ports, destination ports (low, high), inversion.
    info = bytes.fromhex("0000ffff b512b512 02000000".replace(" ", ""))
    (test,) = match_tests("udp", info) or []
    assert test.inverted
    assert test.match(PACKET) is Match.NEVER
    assert match_tests("comment", b"hello") == []
    assert match_tests("u32", b"") is None
