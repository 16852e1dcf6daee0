"""What is asked of a kernel (guest.py): packets over all cores, none lost without a name, in order.

What a kernel lacks is to be refused in one line, which is kept with the result.
"""

import os
import random
import socket
from collections.abc import Callable, Iterator

import pytest
from spread import Outcome, Road, road

from bench import lab as labs
from bench.observer import COUNTS, KINDS, Observer
from bench.reasons import Reasons
from steering import bpf
from steering.errors import OversprayError
from steering.plan import Plan, read_plan
from steering.policy import Need, Order
from steering.registry import find, names
from steering.routes import Delivery
from steering.spec import Spec

MEGABYTE = random.Random(1).randbytes(1 << 20)
CALM = 2000
"""Packets a second."""
SPREAD = [
    (name, delivery)
    for name in names()
    for delivery in Delivery
    if delivery is Delivery.PEER or Need.CLEAR not in find(Spec.parse(name)).needs
]
"""Policies, each by the deliveries that it can have."""

Refused = Callable[[str], None]
"""Keeps the one line with which something was refused."""


@pytest.fixture
def refused(record_property: Callable[[str, object], None]) -> Refused:
    def keep(line: str) -> None:
        assert line and "\n" not in line
        record_property("outcome", "refused")
        record_property("line", line)

    return keep


@pytest.fixture(scope="module")
def docker() -> Iterator[Road]:
    with labs.held(labs.LabSpec("docker", "mtx", containers=4)) as lab, road(lab) as made:
        yield made


def spread(text: str) -> Plan:
    """A policy over all cores but the NIC's."""
    return read_plan(Spec.parse(text), sorted(os.sched_getaffinity(0))[1:])


@pytest.mark.parametrize(("name", "delivery"), SPREAD)
def test_spread(docker: Road, refused: Refused, name: str, delivery: str) -> None:
    """Conservation, and the order that the policy promises; calm, and more than it can take."""
    try:
        with docker.attached(spread(f"{name}:deliver={delivery}")) as datapath:
            for rate in (CALM, None):
                judge(name, docker.drive(datapath, rate))
    except OversprayError as error:
        assert delivery == Delivery.PEER and not bpf.has_tcx(), error
        refused(str(error))


def judge(name: str, came: Outcome) -> None:
    """Every packet is accounted for, and in order where that is promised."""
    steer = came.totals.steer
    assert steer["seen"] == steer["local"] + steer["remote"] + came.passed + steer["drop_strip"]
    assert steer["remote"] == came.totals.lost + came.totals.done
    assert came.passed == 0
    assert came.sent == came.delivered + came.dropped, came
    assert came.unfinished == 0
    if find(Spec.parse(name)).order is Order.STRICT:
        assert came.reordered == 0
    if name == "roundrobin":
        assert min(came.done) > 0, "every worker has its share"


def test_observers(docker: Road) -> None:
    """Tracepoints tell what the datapath counts: their arguments are where they are looked for."""
    cores = sorted(os.sched_getaffinity(0))
    with (
        docker.attached(spread("roundrobin:local=0,deliver=veth")) as datapath,
        Observer() as observer,
        Reasons() as reasons,
    ):
        before = observer.read(cores)
        came = docker.drive(datapath, CALM)
        after = observer.read(cores)
        _to_nobody()
        why = reasons.read()
    seen = {
        name: int((after["count"] - before["count"])[:, at].sum()) for name, at in COUNTS.items()
    }
    ran = {name: int((after["ran"] - before["ran"])[:, at].sum()) for name, at in KINDS.items()}
    assert seen["bulked"] == came.totals.done > 0
    assert seen["polled"] >= came.sent and 0 < seen["polls"] <= 2 * seen["polled"] + 1000
    assert 0 < seen["sleeps"] <= seen["bulks"] + 1000 and seen["switches"] > 0
    assert ran["cpumap"] > 0 and ran["idle"] > 0
    assert why["no_socket"] >= 1


def _to_nobody() -> None:
    """A datagram for a port that nobody listens on any more."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        place = gone.getsockname()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.sendto(b"?", place)


@pytest.mark.parametrize("delivery", Delivery)
def test_stream(docker: Road, refused: Refused, delivery: str) -> None:
    """A TCP stream over all cores arrives byte for byte."""
    try:
        with docker.attached(spread(f"roundrobin:deliver={delivery}")) as datapath:
            assert docker.stream(MEGABYTE) == MEGABYTE
            assert datapath.totals().steer["remote"] > 0
    except OversprayError as error:
        assert delivery == Delivery.PEER and not bpf.has_tcx(), error
        refused(str(error))
