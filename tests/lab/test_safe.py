"""The policy `safe` on the real kernel: it does move flows, and nothing is ever reordered."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attached import EVERYTHING, plan, until

from bench import lab as labs
from bench.lab_plan import Lab
from bench.sinks import CountSink
from bench.traffic import Traffic
from bench.wire import Wire
from steering.datapath import Datapath
from steering.errors import BadInput
from steering.overlay import discovered
from steering.spec import Spec
from steering.undo import Changes
from steering.unit import Programs

pytestmark = [pytest.mark.root, pytest.mark.slow]
LAB = "sfe"
FLOWS = 16


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with labs.held(labs.LabSpec("docker", LAB, containers=4)) as made:
        yield made


@pytest.fixture(scope="module")
def programs() -> Iterator[Programs]:
    with Programs() as made:
        yield made


def reordered(arrivals: np.ndarray) -> int:
    """Packets that arrived after a later one of their flow."""
    found = 0
    for flow in np.unique(arrivals["flow"]):
        sequence = arrivals["sequence"][arrivals["flow"] == flow].astype(np.int64)
        found += int((np.diff(sequence) < 0).sum())
    return found


class Run:
    """What came of some traffic."""

    def __init__(self, wire: Wire, sink: CountSink, datapath: Datapath, traffic: Traffic) -> None:
        before = datapath.totals()
        sink.configure(1, EVERYTHING)
        wire.configure(traffic, 1, (0,))
        wire.start()
        until(lambda: wire.offered().sent > 20_000)
        wire.stop()
        until(lambda: _is_drained(datapath))
        self.totals = datapath.totals() - before
        self.sent = wire.offered().sent
        arrivals = sink.arrivals()
        assert sink.counts().unlogged == 0
        self.arrived, self.reordered = len(arrivals), reordered(arrivals)

    @property
    def moved(self) -> bool:
        return min(self.totals.steer["local"], self.totals.steer["remote"]) > 0


def _is_drained(datapath: Datapath) -> bool:
    """All that was sent to workers is through; the threads have gone to sleep after it."""
    workers = datapath.unit.workers()
    out = workers["finished"] if datapath.unit.tail is not None else workers["done"]
    return bool((out + workers["lost"] >= workers["sent"]).all())


LOADS: dict[str, Any] = {
    "light": Traffic(rate=50_000, flows=FLOWS),
    "bursts": Traffic(rate=200_000, flows=FLOWS, arrivals=Spec.parse("bursts:burst=300")),
    "heavy": Traffic(rate=400_000, flows=FLOWS),
    "overload": Traffic(flows=FLOWS),
    "one flow": Traffic(),
}
MOVER = f"@{Path(__file__).parent / 'policies/mover'}"


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("policy", ["safe", MOVER], ids=["safe", "mover"])
def test_nothing_is_reordered(lab: Lab, programs: Programs, policy: str, load: str) -> None:
    with (
        discovered(lab.host_ns, lab.nic) as overlay,
        Changes() as changes,
        Wire(lab) as wire,
        CountSink(lab) as sink,
        Datapath(overlay, plan(f"{policy}:queue=512"), changes, programs) as datapath,
    ):
        run = Run(wire, sink, datapath, LOADS[load])
        assert run.reordered == 0
        assert run.arrived == run.sent - run.totals.lost - run.totals.steer["drop_strip"]
        # Both counters of a path agree with what was sent and lost.
        workers = datapath.unit.workers()
        assert (workers["finished"] == workers["done"]).all()
        assert run.moved or policy == "safe" or load in ("overload", "one flow")


def test_the_same_traffic_can_be_reordered(lab: Lab, programs: Programs) -> None:
    """Or the test above could not fail."""
    with (
        discovered(lab.host_ns, lab.nic) as overlay,
        Changes() as changes,
        Wire(lab) as wire,
        CountSink(lab) as sink,
        Datapath(overlay, plan("roundrobin:queue=512"), changes, programs) as datapath,
    ):
        assert Run(wire, sink, datapath, LOADS["bursts"]).reordered > 0


def test_swaps_put_the_tail_in_place_and_take_it_away(lab: Lab, programs: Programs) -> None:
    with (
        discovered(lab.host_ns, lab.nic) as overlay,
        Changes() as changes,
        Wire(lab) as wire,
        CountSink(lab) as sink,
        Datapath(overlay, plan("local"), changes, programs) as datapath,
    ):
        assert len(datapath.on_nic) == 1
        datapath.swap(plan("safe:queue=512"))
        assert len(datapath.on_nic) == 2
        assert Run(wire, sink, datapath, LOADS["light"]).reordered == 0
        datapath.swap(plan("local"))
        assert len(datapath.on_nic) == 1


def test_veth_delivery_cannot_be_followed() -> None:
    with pytest.raises(BadInput, match="leave deliver out"):
        plan("safe:deliver=veth")
