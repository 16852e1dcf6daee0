"""The kernel's own counters: text in, numbers out, and what was lost between two readings."""

from pathlib import Path

from bench.losses import Losses, by_stage, devices, protocols, protocols6, softnet, waiting

SNMP = """Ip: Forwarding InDiscards ReasmFails
Ip: 2 3 4
Udp: InDatagrams NoPorts InErrors RcvbufErrors InCsumErrors
Udp: 50 5 6 7 8
UdpLite: InDatagrams NoPorts InErrors RcvbufErrors InCsumErrors
UdpLite: 9 9 9 9 9
"""
DEV = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
  nic0:    1   2    3    4    5     6     7    8   9   10   11   12    13   14   15   16
eth0:1:    0   0    0    1    0     0     0    0   0    0    0    0     0    0    0    0
"""  # noqa: E501
SOFTNET = """00000001 0000000a 00000000 0 0 0 0 0 0 0 0 00000010 00000000 0 0
00000002 00000001 00000000 0 0 0 0 0 0 0 0 00000002 00000001 0 0
"""


def test_protocols_have_names_and_values_in_two_lines() -> None:
    assert protocols(SNMP) == {
        **{"ip.discarded": 3, "ip.not_reassembled": 4},
        **{"udp.no_port": 5, "udp.error": 6, "udp.socket_full": 7, "udp.bad_checksum": 8},
    }


def test_those_of_ipv6_have_the_same_names() -> None:
    text = "Ip6InDiscards \t3\nIp6ReasmFails\t4\nUdp6NoPorts\t5\nUdp6InErrors\t6\nUdpLite6NoPorts\t9\n"
    assert protocols6(text + "Udp6RcvbufErrors\t7\nUdp6InCsumErrors\t8\n") == protocols(SNMP)


def test_devices() -> None:
    assert devices(DEV) == {
        **{"device.nic0.rx_dropped": 4, "device.nic0.tx_dropped": 12},
        **{"device.eth0:1.rx_dropped": 1, "device.eth0:1.tx_dropped": 0},
    }


def test_backlogs_are_hexadecimal_and_added_up() -> None:
    assert (softnet(SOFTNET, 1), softnet(SOFTNET, 11)) == (11, 18)
    assert softnet("00000001 0000000a 0\n", 11) == 0, "an old kernel has no such column"


def test_losses_by_stage_and_name() -> None:
    before = {"backlog.full": 10, "udp.no_port": 5}
    after = {"backlog.full": 10, "udp.no_port": 7, "device.nic0.rx_dropped": 1, "ip.discarded": 0}
    assert by_stage(before, after) == {"udp": {"no_port": 2}, "device": {"nic0.rx_dropped": 1}}


def test_this_kernel_tells_all_of_it() -> None:
    """Nothing is missing because a name or a column is not what we think."""
    assert protocols(Path("/proc/net/snmp").read_text()).keys() == protocols(SNMP).keys()
    assert protocols6(Path("/proc/net/snmp6").read_text()).keys() == protocols(SNMP).keys()
    assert {"device.lo.rx_dropped", "device.lo.tx_dropped"} <= devices(
        Path("/proc/net/dev").read_text()
    ).keys()
    for line in Path("/proc/net/softnet_stat").read_text().splitlines():
        assert len(line.split()) > 11
    assert waiting() >= 0


def test_without_namespaces_the_machines_backlogs_remain() -> None:
    with Losses([]) as losses:
        assert losses.read().keys() == {"backlog.full"}
    losses.close()
