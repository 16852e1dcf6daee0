"""Streams on the real kernel: every byte as it was sent, whatever becomes of the order."""

import os
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from bench.bed import Bed, BedSpec
from bench.experiment import Placement
from bench.run import Load, run
from bench.sample import Sample
from bench.sinks import SOME
from bench.traffic import SINK_PORT, Traffic
from bench.variant import Variant
from bench.wire_rate import measure
from bench.wire_tcp import TcpWire
from steering import netns
from steering.errors import BadInput, OversprayError
from steering.plan import read_plan
from steering.rtnetlink import read_numbers
from steering.settings import GRO_SIZES
from steering.spec import Spec

pytestmark = pytest.mark.root
CORES = Placement(nic=0, workers=(1,), app=1)
CHECKED, SEGMENT = Spec("read", {"check": "1"}), 1448
WRAP = (1 << 32) - 3_000_000


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("host cannot: spread over one core")
    with Bed(CORES, BedSpec("tcpx", mtu=1600)) as made:
        yield made


def measured(bed: Bed, text: str, kind: str = "tcp", sink: Spec = CHECKED, **fields: int) -> Sample:
    traffic = Traffic(**({"payload": SEGMENT} | fields), kind=Spec.parse(kind))
    sample = run(bed, Variant.parse(text), Load(traffic, sink, 0.12, 0.02))
    assert sample.reasons == []
    assert sample.delivered > 0 and sample.goodput_bps > 0
    return sample


@pytest.mark.parametrize(
    "text",
    [
        "native/none",
        "linux/none",
        "docker/none",
        "docker/rps-vxlan",
        "docker/backlog:cell=1,limit=100",
        "docker/stream:calm=0,small=0,gro=185000",
        "flannel/none",
        "flannel/rss",
        "flannel/local",
        "flannel/pin",
        "flannel/roundrobin:shield=0,back=0",
        "flannel/flowcell:cell=64,local=50",
        "flannel/adaptive",
        "flannel/pipeline",
        "flannel/stream:calm=0,small=0,rps=1",
        "flannel/backlog:deliver=veth",
    ],
)
def test_every_byte_is_the_one_that_was_sent(bed: Bed, text: str) -> None:
    measured(bed, text)


@pytest.mark.parametrize("text", ["flannel/none", "docker/stream:calm=0,small=0,gro=185000"])
def test_with_loss_doubling_and_overtaking(bed: Bed, text: str) -> None:
    sample = measured(bed, text, "tcp:lost=300,doubled=300,overtaken=300")
    facts = sample.tcp
    assert facts["lost"] and facts["doubled"] and facts["overtaken"]
    assert facts["resent"] >= facts["lost"]
    assert facts["sacks"], "a gap on the wire is told"


@pytest.mark.parametrize("first", [0, WRAP])
@pytest.mark.parametrize("timestamps", [0, 1])
def test_timestamps_and_numbers_that_wrap(bed: Bed, timestamps: int, first: int) -> None:
    kind = f"tcp:timestamps={timestamps},first={first}"
    sample = measured(bed, "flannel/stream:calm=0,small=0", kind)
    assert sample.delivered * SEGMENT > 3_000_000


@pytest.mark.parametrize("payload", [18, 512, 1400])
def test_other_segments(bed: Bed, payload: int) -> None:
    sample = measured(bed, "flannel/stream:calm=0,small=0", payload=payload)
    assert sample.delivered_bytes >= sample.delivered * payload


@pytest.mark.parametrize("text", ["flannel/rss", "flannel/stream:calm=0,small=0", "docker/none"])
def test_seven_flows(bed: Bed, text: str) -> None:
    measured(bed, text, flows=7)


def test_what_is_not_copied_is_counted(bed: Bed) -> None:
    sample = measured(bed, "flannel/local", sink=Spec("trunc"))
    assert sample.gathered["tcp"] > 8, "GRO merges"


def test_the_shield_keeps_our_disorder_from_the_sender(bed: Bed) -> None:
    """`roundrobin` puts every packet out of order; without the shield the sender hears of it.

    Where a busy host loses packets, it is to hear of them: of some runs the quietest is looked at.
    """
    bare = measured(bed, "flannel/roundrobin:shield=0")
    runs = [measured(bed, "flannel/roundrobin:shield=100000") for _ in range(4)]
    shielded = min(runs, key=lambda one: one.tcp["sacks"] - one.tcp["dsacks"])
    told = [one.tcp["sacks"] - one.tcp["dsacks"] for one in (bare, shielded)]
    assert told[0] > 10 * max(1, told[1])
    assert shielded.tcp["back_dropped"] + shielded.tcp["back_blanked"] > 0
    assert 0 <= shielded.tcp["back_short"] - shielded.tcp["acks"] < 10, (
        "the handshake is the socket's"
    )


def test_order_after_gro_is_seen_of_ours(bed: Bed) -> None:
    """Where a busy host overruns the one worker, the quietest of some runs is looked at."""
    pinned = [measured(bed, "flannel/pin") for _ in range(3)]
    strict = min(pinned, key=lambda one: one.tcp["gro_back"] - one.tcp["resent"])
    wild, stock = (
        measured(bed, f"flannel/{text}") for text in ("roundrobin:shield=100000", "none")
    )
    assert strict.tcp["gro_seen"] > 0
    assert strict.tcp["gro_back"] <= strict.tcp["resent"], "a queue that was full, no more"
    assert wild.tcp["gro_back"] > wild.tcp["gro_seen"] // 20
    assert wild.tcp["gro_moved"] > 0
    assert "gro_seen" not in stock.tcp


@pytest.mark.parametrize("kind", ["spin", "chase:kib=1024", "stream:kib=1024"])
def test_beside_a_neighbour(bed: Bed, kind: str) -> None:
    bed.put_beside(Spec.parse(kind))
    try:
        sample = measured(bed, "flannel/stream:calm=0,small=0")
    finally:
        bed.put_beside(Spec("none"))
    assert sample.cores[1]["neighbour"] > 0 == sample.cores[0].get("neighbour", 0)
    assert min(sample.neighbour.values()) > 0
    assert "neighbour" not in measured(bed, "flannel/none").cores[1], "it has ended"


@pytest.mark.parametrize("kind", ["udp", "tcp", "tcp:timestamps=0"])
def test_the_wire_alone(bed: Bed, kind: str) -> None:
    """What the NIC saw is what the wire says it has sent; connections end all the same."""
    found = measure(bed, "flannel", Spec.parse(kind), SEGMENT, 0.05, 2)
    assert min(found.rounds) > 0
    measured(bed, "flannel/none")


def test_large_gro_is_put_back(bed: Bed) -> None:
    def sizes() -> tuple[int, ...]:
        with netns.entered(bed.lab("flannel").host_ns):
            return read_numbers("nic0", GRO_SIZES)

    before = sizes()
    with bed.in_effect(Variant.parse("flannel/local:gro=185000")):
        assert sizes() == (185_000, 185_000)
    assert sizes() == before
    large = measured(bed, "flannel/local:gro=185000")
    assert large.gathered["tcp"] > measured(bed, "flannel/local").gathered["tcp"]


def test_a_real_sender(bed: Bed) -> None:
    server = Spec("server")
    sample = measured(bed, "flannel/stream:calm=0,small=0", "iperf3", server)
    assert sample.tcp["cwnd"] > SEGMENT and sample.delivered_bytes >= sample.delivered * SEGMENT
    lossy = measured(bed, "docker/none", "iperf3:lost=20000", server, flows=2)
    assert lossy.tcp["lost"] > 0 and lossy.tcp["resent"] >= lossy.tcp["lost"] // 2


def test_swaps_under_load_change_no_byte(bed: Bed) -> None:
    traffic = Traffic(SEGMENT, kind=Spec("tcp"))
    # No more than a datapath keeps compiled.
    texts = ("stream:calm=0,small=0", "roundrobin", "backlog:cell=8", "pipeline")
    cores = ((1,), (0, 1), (0,), (1,))
    plans = [read_plan(Spec.parse(text), at) for text, at in zip(texts, cores, strict=True)]
    with bed.in_effect(Variant.parse(f"flannel/{texts[0]}")) as effect:
        sink = bed.sink("flannel", CHECKED, traffic)
        wire = bed.wire("flannel", "tcp")
        sink.configure(1, SOME)
        wire.configure(traffic, 1)
        assert effect.datapath is not None
        for plan in plans:  # compiled before the clock runs
            effect.datapath.swap(plan)
        wire.start()
        for turn in range(24):
            effect.datapath.swap(plans[turn % len(plans)])
        offered = wire.stop()
        sent = int(wire.sent()[0])
        end = time.monotonic() + 5
        while sink.counts().bytes < sent and time.monotonic() < end:
            time.sleep(0.01)
        received = sink.counts()
        wire.finish()
    assert offered.whole and received.foreign == 0
    assert received.bytes == sent > 0


def test_outer_and_inner_ipv6() -> None:
    with Bed(CORES, BedSpec("tcp6", mtu=1700, outer=6, inner=6)) as bed:
        for text in ("flannel/none", "docker/stream:calm=0,small=0"):
            measured(bed, text, "tcp:lost=100,overtaken=100", payload=1428)


def drain(one: socket.socket) -> None:
    while one.recv(1 << 16):
        pass


@pytest.fixture(scope="module")
def far() -> Iterator[Bed]:
    with Bed(CORES, BedSpec("tcpf", mtu=1600)) as made:
        yield made


class TestTheFarEnd:
    """A receiver that does not do as one would like."""

    @pytest.fixture
    def wire(self, far: Bed) -> Iterator[TcpWire]:
        wire = far.wire("native", "tcp")
        assert isinstance(wire, TcpWire)
        yield wire
        wire.finish()

    @pytest.fixture
    def listener(self, far: Bed) -> Iterator[socket.socket]:
        [end] = far.lab("native").endpoints
        with netns.entered(end.netns):
            one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        one.bind((end.ip, SINK_PORT))
        one.listen()
        one.settimeout(5)
        with one:
            yield one

    def test_nobody_listens(self, wire: TcpWire) -> None:
        with pytest.raises(OversprayError, match=r"connect to .* port 7000: Connection refused"):
            wire.configure(Traffic(SEGMENT, kind=Spec("tcp")), 1)

    def test_segments_that_the_connection_does_not_take(
        self, wire: TcpWire, listener: socket.socket
    ) -> None:
        with pytest.raises(BadInput, match="payload 1600: the connection takes segments of"):
            wire.configure(Traffic(1600, kind=Spec("tcp")), 1)

    def test_a_window_that_shuts_and_opens(self, wire: TcpWire, listener: socket.socket) -> None:
        wire.configure(Traffic(SEGMENT, kind=Spec("tcp")), 1)
        one, _ = listener.accept()
        with one:
            one.settimeout(5)
            wire.start()
            time.sleep(0.1)
            shut = wire.sent()[0]
            time.sleep(0.1)
            assert wire.sent()[0] == shut, "nothing is sent beyond the window"
            got = 0
            while got < 4 * int(shut):
                got += len(one.recv(1 << 16))
            reader = threading.Thread(target=drain, args=(one,))
            reader.start()
            assert wire.stop().whole
            wire.finish()
            reader.join()

    def test_one_that_resets(self, wire: TcpWire, listener: socket.socket) -> None:
        wire.configure(Traffic(SEGMENT, kind=Spec("tcp")), 1)
        one, _ = listener.accept()
        wire.start()
        time.sleep(0.05)
        one.close()  # with data unread: a reset
        begin = time.monotonic()
        offered = wire.stop()
        assert time.monotonic() - begin < 4
        assert offered.sent > 0
