"""Applications that no one here wrote, as sinks: each has what was counted at its socket."""

import pytest

from bench import iperf3
from bench import lab as labs
from bench.application import Runs
from bench.seen import passing
from bench.sink import EVERY, Sink
from bench.traffic import Traffic
from bench.wire import Wire
from steering import cores

N = 20_000
CORES = cores.usable()


def taken(sink: Sink) -> int:
    """Packets, once nothing waits in a socket: it holds but 50, and a busy application may be late."""
    return 0 if any(each.waiting for each in sink.applications) else sink.delivered


@pytest.mark.needs("iperf3")
def test_iperf3_tells_the_bytes_that_were_counted() -> None:
    with (
        labs.lab("flannel") as lab,
        passing(lab),
        Sink(lab, EVERY, Runs(CORES[-1], iperf3.COMMAND)) as sink,
        Wire(lab, Traffic(), CORES[0]) as wire,
    ):
        wire.send_windowed(N, lambda: taken(sink), window=8)
        assert sink.delivered == N
        [one] = sink.applications
        assert one.control is not None
        [stream] = iperf3.end(one.control)["streams"]
    assert stream["bytes"] == 18 * (N - 1), "the first one opens the test"


@pytest.mark.needs("sockperf")
def test_sockperf_and_whatever_else_reads() -> None:
    """It tells nothing of foreign datagrams, but takes them out of its socket."""
    with (
        labs.lab("flannel") as lab,
        passing(lab),
        Sink(lab, EVERY, Runs(CORES[-1], "sockperf server -i {address} -p {port}")) as sink,
        Wire(lab, Traffic(), CORES[0]) as wire,
    ):
        wire.send_windowed(N, lambda: taken(sink), window=8)
        assert sink.delivered == N
