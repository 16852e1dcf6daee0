"""IPv6 inside and outside: what the stock stack carries, and ours on the cores that a policy chose."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from ground import NIC_CORE, WORKER_CORE, accounted, attached
from pyroute2 import IPRoute
from scapy.utils import checksum

from bench import lab as labs
from bench.frame import Frame, build
from bench.lab import Lab
from bench.seen import passing
from bench.sink import Sink
from bench.traffic import Traffic
from bench.wire import Wire
from steering import netns
from steering.datapath import Datapath, Units
from steering.waiting import wait_for

pytestmark = pytest.mark.needs("cpumap programs", "tc links")

N = 640
HALF = {NIC_CORE: N // 2, WORKER_CORE: N // 2}


@contextmanager
def bed(case: str, inner: int, outer: int) -> Iterator[tuple[Lab, Wire, Sink]]:
    with (
        labs.lab(case, 2, inner, outer) as lab,
        Sink(lab) as sink,
        Wire(lab, Traffic(flows=2), NIC_CORE) as wire,
    ):
        yield lab, wire, sink


@pytest.mark.parametrize(("case", "inner", "outer"), [("flannel", 6, 6), ("docker", 6, 6), ("flannel", 6, 4)])
def test_every_packet_on_the_expected_core(units: Units, case: str, inner: int, outer: int) -> None:
    with bed(case, inner, outer) as (lab, wire, sink):
        with passing(lab) as nic:
            wire.send_windowed(N, lambda: sink.delivered)
            assert (nic.frames, sink.by_core()) == (N, {NIC_CORE: N})
        for policy, deliver, wanted in (
            ("roundrobin", "peer", HALF),
            ("roundrobin", "veth", HALF),
            ("pin", "peer", {WORKER_CORE: N}),
        ):
            sink.begin(1)
            with attached(lab, policy, units, deliver=deliver) as datapath:
                wire.send_windowed(N, lambda: sink.delivered)
                totals, handed_over = datapath.totals(), datapath.peer()["segments"]
            assert sink.by_core() == wanted, (policy, deliver)
            assert totals.local.get(NIC_CORE, 0) == wanted.get(NIC_CORE, 0)
            assert totals.sent == totals.done == {WORKER_CORE: wanted[WORKER_CORE]}
            assert (totals.drops, totals.passed, totals.delivered) == ({}, 0, N)
            assert handed_over == (N if deliver == "peer" else 0)
        assert (sink.counts()["foreign"], wire.counts()["drop_ring"]) == (0, 0)
        assert [int((sink.arrivals()["flow"] == flow).sum()) for flow in (0, 1)] == [N // 2, N // 2]


def test_the_stock_stack_delivers_where_there_is_no_container() -> None:
    with labs.lab("linux", inner=6) as lab, passing(lab), Sink(lab) as sink, Wire(lab, core=NIC_CORE) as wire:
        wire.send_windowed(N, lambda: sink.delivered)
        assert (lab.sinks[0][1], sink.delivered) == ("2001:db8:77:1::1", N)


def test_at_full_rate_every_packet_is_accounted_for(units: Units) -> None:
    """A queue of 128 overflows; each loss has a name, and the sum comes out exactly."""
    count = 50_000
    with bed("flannel", 6, 6) as (lab, wire, sink):
        for deliver in ("peer", "veth"):
            sink.begin(1)
            before = wire.counts()
            with attached(lab, "roundrobin", units, deliver=deliver) as datapath:
                wire.send(count)
                wait_for(
                    lambda: sum(accounted(sink, datapath, wire, before)) == count,  # noqa: B023
                    lambda: f"{count}: {sink.counts()} {datapath.totals()} {wire.counts()}",
                )
                totals, ring = datapath.totals(), accounted(sink, datapath, wire, before)[1]
            assert totals.steer["seen"] == count - ring == totals.steer["local"] + totals.steer["remote"]


def refused(name: str) -> int:
    """Datagrams that the UDP of that namespace dropped for their checksum."""
    with netns.entered(name):
        lines = Path("/proc/thread-self/net/snmp6").read_text().splitlines()
    return int(dict(line.split() for line in lines)["Udp6InCsumErrors"])


def test_an_outer_checksum_is_missed_over_ipv6(units: Units) -> None:
    """Stock drops what has none, unless the tunnel is made to take it: so ours leaves it to stock."""
    with labs.lab("flannel", 1, 4, 6) as lab, Sink(lab) as sink:
        [tunnel], frame = lab.target.tunnels, replace(build(lab.plan, 18), outer_sum=0)
        lax = replace(lab.target, tunnels=(replace(tunnel, zero_checksum=True),))
        with Wire(lab, core=NIC_CORE, frame=frame) as wire:
            with passing(lab):
                wire.send_windowed(100, lambda: refused(lab.host_ns))
            with attached(lab, "pin", units) as datapath:
                wire.send_windowed(100, lambda: refused(lab.host_ns))
                assert (datapath.totals().steer["pass_checksum"], sink.delivered) == (100, 0)
            with Datapath(lax, datapath.plan, units) as datapath:
                wire.send_windowed(100, lambda: sink.delivered)
                assert datapath.totals().passed == 0


def with_options(frame: Frame) -> Frame:
    """With destination options, that say nothing, in front of the UDP header."""
    at = frame.header_bytes - 8
    data = bytearray(frame.data[:at] + bytes([17, 0, 1, 4, 0, 0, 0, 0]) + frame.data[at:])
    data[frame.inner + 20] = 60
    for length in (16, frame.inner - 12, frame.inner + 18):  # outer IP, outer UDP, inner IP
        struct.pack_into(">H", data, length, struct.unpack_from(">H", data, length)[0] + 8)
    struct.pack_into(">H", data, 24, 0)
    struct.pack_into(">H", data, 24, checksum(bytes(data[14:34])))
    return replace(frame, data=bytes(data), header_bytes=frame.header_bytes + 8)


def test_extension_headers_take_the_stock_path_and_arrive(units: Units) -> None:
    with labs.lab("flannel", 1, 6, 4) as lab, Sink(lab) as sink:
        frame = with_options(build(lab.plan, 18))
        with Wire(lab, core=NIC_CORE, frame=frame) as wire, attached(lab, "pin", units) as datapath:
            wire.send_windowed(100, lambda: sink.delivered)
            assert datapath.totals().steer["pass_options"] == datapath.totals().passed == 100
            assert sink.by_core() == {NIC_CORE: 100}


@pytest.mark.parametrize("case", ["linux", "flannel", "docker"])
def test_it_is_silent(case: str) -> None:
    """Nothing was sent, and nobody has an address, or is in a group, that others would have to know of."""
    with labs.lab(case, 1, 6, 6) as lab:
        plan = lab.plan
        own = {plan.wire_ip, plan.nic_ip, plan.host_ip, "::1"}
        for role, name in lab.names.items():
            with netns.entered(name), IPRoute() as ip:
                for link in ip.get_links():
                    counted = link.get("stats64")
                    assert counted["rx_packets"] == counted["tx_packets"] == 0, link.get("ifname")
                assert {each.get("address") for each in ip.get_addr(family=10)} <= own
                rows = Path("/proc/thread-self/net/igmp6").read_text().split()
            # All nodes of this host, and of this link (RFC 4291): these two are never reported.
            assert set(rows[2::6]) <= {f"ff{scope}".ljust(31, "0") + "1" for scope in ("01", "02")}
            assert rows or not plan.has_ipv6(role)
