"""What can't be seen of a policy in user space: what a real path makes of it."""

import numpy as np
import pytest
from ground import NIC_CORE, WORKER_CORE, accounted, attached

from bench.bed import Bed
from bench.lab import Lab
from bench.lab_plan import WITH_CONTAINERS
from bench.sink import Sink, Window
from bench.traffic import Traffic
from bench.variant import Variant
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


STAGES = [  # steering, coalescing, the core up to GRO, the core behind it, the device that hands on
    ("stage:{worker},stack={near}", "", WORKER_CORE, NIC_CORE, "nic0"),
    ("stage:{worker},stack={far}", "", WORKER_CORE, WORKER_CORE, "nic0"),
    ("stage:{worker},stack={near},deliver=veth", "", WORKER_CORE, NIC_CORE, "eth0"),
    ("local:stack={far}", "", NIC_CORE, WORKER_CORE, "nic0"),
    ("local:stack={far}", "+gro-list", NIC_CORE, WORKER_CORE, "nic0"),
    ("stage:{worker}", "", WORKER_CORE, WORKER_CORE, ""),
]
N = 1024


@pytest.mark.needs("RPS")
@pytest.mark.parametrize("case", WITH_CONTAINERS)
def test_each_stage_of_a_flow_has_the_core_that_was_asked_for(case: str) -> None:
    """Handed on is what GRO has made, and to no other core; what is in effect is told."""
    near, far = (f"{1 << core:x}" for core in (NIC_CORE, WORKER_CORE))
    texts = [text.format(worker=f"mask={far}", near=near, far=far) + more for text, more, *_ in STAGES]
    variants = [Variant.parse(f"{case}/{text}") for text in texts]
    with Bed(variants, Traffic(flows=2), NIC_CORE) as bed:
        for variant, (_, coalescing, first, last, device) in zip(variants, STAGES, strict=True):
            with bed.in_effect(variant) as effect:
                sink, wire, datapath = effect.case.sink, effect.case.wire, effect.datapath
                assert datapath is not None and bed.unwanted(variant) == []
                masks = {name: effect.settings[f"{name} rps_cpus"] for name in ("nic0", "vxlan0", "eth0")}
                assert masks == {
                    **dict.fromkeys(masks, "0"),
                    **({device: f"{1 << last:x}"} if device else {}),
                }
                sink.begin(1)
                wire.send_windowed(N, lambda: sink.delivered)  # noqa: B023
                totals, handed_over = datapath.totals(), datapath.peer_by_core()
            assert (totals.delivered, totals.drops, totals.passed) == (N, {}, 0)
            assert (totals.local if first == NIC_CORE else totals.done)[first] == N, variant
            assert sink.by_core() == {last: N}, variant
            by_tc = {core: int(count) for core, count in enumerate(handed_over["segments"]) if count}
            assert by_tc == ({} if device == "eth0" else {last: N}), variant
            assert handed_over["packets"].sum() <= (N // 2 if coalescing else N)
            assert sink.order().reordered == 0


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
