"""H01 (moby/moby#37214): one connection, more than one core, and the books balance."""

import pytest
from ground import NIC_CORE, WORKER_CORE, attached

from bench.lab import Lab
from bench.seen import passing
from bench.sink import Sink
from bench.traffic import Traffic
from bench.wire import Wire
from steering.datapath import Units

pytestmark = pytest.mark.needs("cpumap programs", "tc links")

N = 20_000
WINDOW = 32


def test_under_stock_one_core_gets_all(flannel: Lab) -> None:
    with passing(flannel) as nic, Sink(flannel) as sink, Wire(flannel, Traffic(), NIC_CORE) as wire:
        wire.send_windowed(N, lambda: sink.delivered)
        order = sink.order()
        assert sink.by_core() == {NIC_CORE: nic.frames} == {NIC_CORE: N}
        assert (order.received, order.duplicates, order.reordered) == (N, 0, 0)


# The kernel hands frames to a worker's core in bulks of 8, or when the poll ends. A backlog of 7 is less: so
# of each poll 7 go there and the rest stays, however quick the worker is.
@pytest.mark.parametrize("policy", ["roundrobin", "flowcell", "backlog:cell=1,limit=7"])
def test_one_flow_on_two_cores(flannel: Lab, units: Units, policy: str) -> None:
    with (
        Sink(flannel) as sink,
        Wire(flannel, Traffic(), NIC_CORE) as wire,
        attached(flannel, policy, units) as datapath,
    ):
        wire.send_windowed(N, lambda: sink.delivered, WINDOW)
        totals, order, counts = datapath.totals(), sink.order(), sink.counts()
        by_core, wire_sent = sink.by_core(), wire.sent
    assert by_core == {**totals.local, **totals.done}
    assert by_core.keys() == {NIC_CORE, WORKER_CORE}
    assert min(by_core.values()) >= N // 10
    lost = sum(sum(names.values()) for names in totals.drops.values())
    assert sum(by_core.values()) == counts["delivered"] == totals.delivered == N - lost
    assert (counts["foreign"], counts["unlogged"], totals.passed, wire_sent) == (0, 0, 0, N)
    # What came late came: it is reordered, and neither lost nor delivered twice.
    assert (order.received, order.duplicates) == (N - lost, 0)
    assert 0 <= order.reordered == len(order.extents) < N
