"""What can't be seen of a policy in user space: what a real path makes of it."""

import numpy as np
import pytest
from ground import NIC_CORE, accounted, attached

from bench.lab import Lab
from bench.sink import Sink, Window
from bench.traffic import Traffic
from bench.wire import Wire
from steering import stock
from steering.datapath import Datapath, Units
from steering.layout import header
from steering.spec import Spec
from steering.undo import Changes
from steering.waiting import wait_for

pytestmark = pytest.mark.needs("cpumap programs", "tc links")

SAFE_CORE = np.dtype([("seen", "<u8"), ("clearing", "<u8", 4), ("moved", "<u8")])


def _moved(datapath: Datapath) -> int:
    cores = datapath.unit._module.map("policy_cores").get(SAFE_CORE)
    return int(cores["moved"].sum())


@pytest.mark.parametrize("coalescing", ["", "gro-list"])
def test_safe_reorders_nothing_under_full_load(flannel: Lab, units: Units, coalescing: str) -> None:
    """One flow fills the worker's queue, so that it overflows; 64 light ones move to and fro meanwhile. With
    gro-list both cores hold packets back."""
    specs = [Spec(coalescing)] if coalescing else []
    traffic = Traffic(flows=65, shares="8000" + ",1" * 64)
    with (
        Sink(flannel, Window(1024, 32768)) as sink,
        Wire(flannel, traffic, NIC_CORE) as wire,
        Changes() as changes,
        attached(flannel, "safe:limit=96", units) as datapath,
    ):
        stock.apply(flannel.target, Spec("none"), specs, NIC_CORE, changes)
        before, begun = wire.counts(), _moved(datapath)

        def is_enough() -> bool:
            wire.send(16384)
            totals = datapath.totals()
            return _moved(datapath) - begun >= 200 and bool(totals.local and totals.drops)

        wait_for(is_enough, lambda: f"flows to move: {_moved(datapath) - begun} {datapath.totals()}")
        wait_for(
            lambda: sum(accounted(sink, datapath, wire, before)) == wire.sent,
            lambda: f"{wire.sent}: {sink.counts()} {datapath.totals()} {wire.counts()}",
        )
        order, unlogged = sink.order(), sink.unlogged
        queue = datapath.unit._module.map("workers").get(header("policy.h").struct("workers"))["worker"][0]
    assert 0 < queue["clearing"]["through"] < queue["done"]
    assert (unlogged, order.reordered, order.duplicates) == (0, 0, 0)
