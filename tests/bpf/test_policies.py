"""What the policies decide, packet by packet, in the kernel: each against its definition in Python."""

import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from ground import WORKER_CORE, planned
from owned import own
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from bench.cost import route_of
from bench.frame import build
from bench.lab_plan import Plan as LabPlan
from steering import bpf
from steering.layout import header
from steering.unit import Unit

LAB = LabPlan("flannel")
ROUTE = route_of(LAB)
FRAME = build(LAB, 18).data
REDIRECT = 4


@pytest.fixture(scope="module")
def units() -> Iterator[Callable[[str], Unit]]:
    """Compiled once; what a policy remembers is forgotten for each test."""
    with ExitStack() as stack:
        made: dict[str, Unit] = {}

        def of(text: str) -> Unit:
            name = text.partition(":")[0]
            if name not in made:
                made[name] = stack.enter_context(Unit(planned(name), 1))
            unit = made[name]
            unit.serve(planned(text), LAB.nic_mac)
            unit.route([ROUTE])
            _forget(unit)
            return unit

        yield of


def _forget(unit: Unit) -> None:
    flows = unit._module.map("flows")
    for flow in range(header("maps.h").constants["MAX_FLOWS"]):
        flows.put(flow, bytes(flows.size))
    _set_backlog(unit, 0)


@pytest.fixture
def decide(
    units: Callable[[str], Unit], request: pytest.FixtureRequest
) -> Iterator[Callable[..., list[int]]]:
    """The slots of so many packets of one flow, by what the programs do with them."""
    unit = units(request.param)
    before = unit.totals()

    def slots(count: int, waiting: int | None = None) -> list[int]:
        if waiting is not None:
            _set_backlog(unit, waiting)
        verdicts = [bpf.test_run(unit.program, FRAME)[0] for _ in range(count)]
        assert set(verdicts) <= {bpf.XDP_PASS, REDIRECT}
        return [int(verdict == REDIRECT) for verdict in verdicts]

    yield slots
    totals = unit.totals() - before
    assert totals.passed == 0
    assert totals.steer["local"] + totals.steer["remote"] == totals.steer["seen"]


def _set_backlog(unit: Unit, waiting: int) -> None:
    table, dtype = unit._module.map("workers"), header("policy.h").struct("workers")
    rows = table.get(dtype)
    rows["worker"]["sent"][0], rows["worker"]["done"][0] = 10_000, 10_000 - waiting
    table.put(0, rows.tobytes())


Decide = Callable[..., list[int]]


@pytest.mark.parametrize("decide", ["local"], indirect=True)
def test_local(decide: Decide) -> None:
    assert decide(10) == [0] * 10


@pytest.mark.parametrize("decide", ["pin", "pin:worker=7"], indirect=True)
def test_pin_takes_the_last_worker_where_there_are_fewer(decide: Decide) -> None:
    assert decide(10) == [1] * 10


@pytest.mark.parametrize("decide", ["roundrobin"], indirect=True)
def test_roundrobin(decide: Decide) -> None:
    assert decide(10) == [0, 1] * 5


@pytest.mark.parametrize("decide", ["roundrobin:local=0"], indirect=True)
def test_roundrobin_without_the_nics_core(decide: Decide) -> None:
    assert decide(5) == [1] * 5


@pytest.mark.parametrize("decide", ["flowcell:cell=3,local=50"], indirect=True)
def test_flowcell(decide: Decide) -> None:
    assert decide(12) == [1, 1, 1, 0, 0, 0] * 2


@pytest.mark.parametrize("decide", ["flowcell:cell=1,local=25"], indirect=True)
def test_flowcell_with_a_share(decide: Decide) -> None:
    assert decide(100).count(0) == 25


@pytest.mark.parametrize("decide", ["backlog:cell=4,limit=16"], indirect=True)
def test_backlog_is_remote_while_the_cell_fits_within_the_limit(decide: Decide) -> None:
    assert decide(4, 12) == [1] * 4
    assert decide(4, 13) == [0] * 4
    assert decide(4, 0) == [1] * 4


@pytest.mark.parametrize("decide", ["backlog:cell=4,limit=16"], indirect=True)
def test_backlog_keeps_its_choice_for_a_cell(decide: Decide) -> None:
    assert decide(2, 0) == [1, 1]
    assert decide(2, 1000) == [1, 1]
    assert decide(1) == [0]


@pytest.mark.parametrize("decide", ["backlog:cell=4,limit=3"], indirect=True)
def test_backlog_with_a_limit_below_a_cell_is_local(decide: Decide) -> None:
    assert decide(8, 0) == [0] * 8


def test_a_slot_that_does_not_exist_is_refused_and_counted(tmp_path: Path) -> None:
    text = planned("local").policy.header.read_text()
    (tmp_path / "policy.h").write_text(text.replace("return LOCAL_SLOT", "return workers->count + 1"))
    (tmp_path / "policy.py").write_text((planned("local").policy.folder / "policy.py").read_text())
    with Unit(planned(f"@{tmp_path}"), 1) as unit:
        unit.serve(unit.plan, LAB.nic_mac)
        unit.route([ROUTE])
        verdict, data = bpf.test_run(unit.program, FRAME)
        assert (verdict, data) == (bpf.XDP_PASS, FRAME)
        assert unit.totals().steer["refused_slot"] == unit.totals().passed == 1


def test_a_policy_is_told_the_flags_of_tcp(tmp_path: Path) -> None:
    """Each of the eight, and none of a datagram, whatever it has there."""
    mine = own(tmp_path / "mine", f"return packet->flags == packet->length - {14 + 20 + 20};")
    link, inside = Ether(dst=LAB.nic_mac, src=LAB.wire_mac), Ether(dst=ROUTE.mac, src=LAB.peer_mac)
    outer = link / IP(dst=ROUTE.local, src=ROUTE.remote) / UDP(sport=49152, dport=ROUTE.port, chksum=0)
    packet = inside / IP(dst=LAB.containers[0].ip, src=LAB.peer_ip)
    with Unit(planned(f"@{mine.folder}"), 1) as unit:
        unit.serve(unit.plan, LAB.nic_mac)
        unit.route([ROUTE])

        def told(layer4: Packet) -> bool:
            frame = outer / struct.pack(">II", 8 << 24, ROUTE.vni << 8) / packet / layer4
            return bpf.test_run(unit.program, bytes(frame))[0] == REDIRECT

        for flags in (0, *(1 << bit for bit in range(8)), 255):
            assert told(TCP(flags=flags) / bytes(flags))
            assert not told(TCP(flags=flags) / bytes(flags + 1))
        assert told(UDP() / bytes([255] * 12)), "0 flags, and as long as a TCP segment without payload"
        assert not told(UDP() / bytes([255] * 13))


def test_a_worker_is_told_by_its_core() -> None:
    with Unit(planned("pin"), 1) as unit:
        rows = unit._module.map("workers").get(header("policy.h").struct("workers"))
        assert (int(rows["count"]), int(rows["worker"]["core"][0])) == (1, WORKER_CORE)
        slot = unit._module.map("slot_of_core").get(np.dtype("<u4"), WORKER_CORE)
        assert struct.pack("=I", 1) == slot.tobytes()
