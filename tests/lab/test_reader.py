"""An application that reads: what came is read, or found no room, and its order is the same."""

import json

import numpy as np
import pytest
from commands import overspray
from ground import NIC_CORE, WORKER_CORE, attached

from bench.bed import Bed
from bench.lab import Lab
from bench.reader import Reads
from bench.run import run
from bench.seen import passing
from bench.sink import EVERY, Sink
from bench.traffic import Traffic
from bench.variant import Variant
from bench.wire import Wire
from steering.datapath import Units

N = 2048


@pytest.mark.parametrize("batch", [1, 64])
def test_what_comes_on_one_core_is_read_in_its_order(flannel: Lab, batch: int) -> None:
    reads = Reads(WORKER_CORE, batch)
    with (
        passing(flannel),
        Sink(flannel, EVERY, reads, connected=True) as sink,
        Wire(flannel, Traffic(), NIC_CORE) as wire,
    ):
        wire.send_windowed(N, lambda: sink.delivered)
        assert (sink.arrived, sink.delivered, sink.bytes, sink.unlogged) == (N, N, 18 * N, 0)
        read, came = sink.readers[0].arrivals(), sink.arrivals()
        assert read["sequence"].tolist() == came["sequence"].tolist() == list(range(N))
        assert sink.order().reordered == sink.order_at_sockets().reordered == 0
        assert int(sink.latency().sum()) == N


def test_two_cores_at_once_are_read_each_in_the_order_that_its_filter_saw(flannel: Lab, units: Units) -> None:
    """The clock merges the cores' logs, and a core may be held up between its filter and the socket. Within a
    core nothing may overtake: there the reader and the filter must agree to the packet."""
    with (
        attached(flannel, "roundrobin", units),
        Sink(flannel, EVERY, Reads(WORKER_CORE)) as sink,
        Wire(flannel, Traffic(), NIC_CORE) as wire,
    ):
        wire.send_windowed(N, lambda: sink.delivered)
        read = sink.readers[0].arrivals()["sequence"]
        logs = [log["sequence"] for log in sink.arrivals_by_core() if len(log)]
        assert len(logs) == 2 and sorted(read.tolist()) == list(range(N))
        for log in logs:
            assert read[np.isin(read, log)].tolist() == log.tolist()


def test_what_no_reader_takes_in_time_is_counted_by_the_kernel() -> None:
    """At full rate, and one datagram a call: read and overflowed add up to what came."""
    variant = Variant.parse("flannel/none+gro-list")
    with Bed([variant], Traffic(flows=2), sink=f"read:core={NIC_CORE},batch=1") as bed:
        found = run(bed, variant, 0.05, 0.0, 0)
    assert found.invalid == []
    assert 0 < found.delivered <= found.offered
    assert found.cores[str(NIC_CORE)]["reader"] > 0
    assert "reordered_at_socket" in found.order


def test_as_a_person_types_it() -> None:
    line = ("ab", "flannel/none", "flannel/none", "--sink", "read", "--rate", "2000", "--batch", "8")
    done = overspray(*line, "--seconds", "0.02", "--rounds", "1", "--no-explain", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["sink"] == f"read:core={WORKER_CORE},batch=64"
    assert report["variants"]["a"]["delivered_pps"] > 0
