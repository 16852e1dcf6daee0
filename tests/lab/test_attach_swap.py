"""Swaps under load: atomic, and no packet is lost, doubled or left behind."""

from collections.abc import Iterator

import pytest
from attached import ATT, missing, plan, traffic
from pyroute2 import IPRoute

from bench import lab as labs
from bench.lab_plan import Lab
from bench.sinks import CountSink
from bench.wire import Wire
from steering import netns
from steering.datapath import Datapath
from steering.overlay import discovered
from steering.undo import Changes
from steering.unit import Programs

pytestmark = [pytest.mark.root, pytest.mark.slow]
RATE = 20_000
"""Packets a second: well below what a busy machine takes."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with labs.held(labs.LabSpec("docker", ATT)) as made:
        yield made


@pytest.fixture(scope="module")
def programs() -> Iterator[Programs]:
    with Programs() as made:
        yield made


@pytest.mark.parametrize(("deliver", "swaps"), [("peer", 200), ("veth", 50)])
def test_swaps_under_load_lose_nothing(
    lab: Lab, programs: Programs, deliver: str, swaps: int
) -> None:
    plans = [
        plan(f"backlog:cell=8,limit=64,deliver={deliver}"),
        plan(f"flowcell:cell=8,local=50,deliver={deliver}"),
    ]
    with (
        discovered(lab.host_ns, lab.nic) as overlay,
        Changes() as changes,
        Wire(lab) as wire,
        CountSink(lab) as sink,
        Datapath(overlay, plans[0], changes, programs) as datapath,
    ):
        datapath.swap(plans[1])  # compiled now
        with traffic(wire, sink, RATE):
            for number in range(swaps):
                datapath.swap(plans[number % 2])
        totals = datapath.totals()
        offered = wire.offered().sent
        assert missing(wire, sink) == 0
        assert totals.steer["local"] + totals.steer["remote"] == offered == totals.steer["seen"]
        assert totals.sent == totals.done == totals.steer["remote"] > 0
        assert totals.lost == 0
        # Between two swaps there was traffic: each took a few milliseconds.
        assert offered > swaps * 10


def test_units_are_kept_for_a_few_swaps_only(lab: Lab, programs: Programs) -> None:
    """Each has threads and maps; what those that went have counted still counts."""
    texts = ["local", "pin", "roundrobin", "backlog", "flowcell"]
    with (
        discovered(lab.host_ns, lab.nic) as overlay,
        Changes() as changes,
        Wire(lab) as wire,
        CountSink(lab) as sink,
        Datapath(overlay, plan("local:queue=512"), changes, programs) as datapath,
    ):
        with traffic(wire, sink, 2000):
            for text in texts:
                datapath.swap(plan(f"{text}:queue=512"))
        totals = datapath.totals()
        assert missing(wire, sink) == totals.lost  # a compiler leaves little time to a worker
        assert totals.steer["seen"] == wire.offered().sent
        assert 2 <= len(datapath._used) <= 4


def test_a_swap_when_a_container_has_just_gone(programs: Programs) -> None:
    """Its program for the way back has gone with its device, and nobody was told yet."""
    with (
        labs.held(labs.LabSpec("flannel", ATT, containers=2)) as lab,
        discovered(lab.host_ns, lab.nic) as overlay,
        Changes() as changes,
        Wire(lab) as wire,
        CountSink(lab) as sink,
        Datapath(overlay, plan("local"), changes, programs) as datapath,
    ):
        end = lab.endpoints[1]
        with netns.entered(end.host_netns), IPRoute() as route:
            route.link("del", index=route.link_lookup(ifname=end.host_device)[0])
        with traffic(wire, sink, 5000):  # to the other one
            datapath.swap(plan("pin"))
            datapath.swap(plan("local"))
        assert missing(wire, sink) == 0
