"""The kernel's counters as text, and what was lost between two readings of them."""

from bench.losses import _pairs, _singles, by_stage

SNMP = """Ip: Forwarding InReceives InDiscards
Ip: 2 10 3
Udp: InDatagrams NoPorts RcvbufErrors
Udp: 5 2 1
"""


def test_names_and_values_in_two_lines() -> None:
    found = list(_pairs(SNMP))
    assert ("ip", "InDiscards", 3) in found
    assert ("udp", "NoPorts", 2) in found
    assert len(found) == 6


def test_one_name_a_line_for_ipv6() -> None:
    text = "Ip6InDiscards   \t4\nUdp6NoPorts\t1\nUdpLite6NoPorts\t9\nIcmp6InMsgs\t7\n"
    assert list(_singles(text)) == [("ip", "InDiscards", 4), ("udp", "NoPorts", 1)]


def test_losses_by_stage_and_name() -> None:
    before = {"nic.ring_full": 10, "udp.no_socket": 5}
    after = {"nic.ring_full": 10, "udp.no_socket": 7, "veth.queue_full": 1, "ip.discarded": 0}
    assert by_stage(before, after) == {"udp": {"no_socket": 2}, "veth": {"queue_full": 1}}
