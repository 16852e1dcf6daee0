"""Wires of several protocols take turns in one lab, as an experiment of several matrices needs."""

import os
from collections.abc import Iterator

import pytest

from bench.bed import Bed, BedSpec
from bench.experiment import Placement
from bench.run import Load, run
from bench.traffic import Traffic
from bench.variant import Variant
from steering.spec import Spec

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.cpu_count() == 1, reason="host cannot: it has one core"),
]


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    with Bed(Placement(nic=0, workers=(1,), app=1), BedSpec(name="mixed", mtu=1600)) as made:
        yield made


@pytest.mark.parametrize(
    ("kind", "payload", "sink"),
    [
        ("udp", 1400, "count"),
        ("tcp", 1448, "trunc:core=65534"),
        ("iperf3:udp=1", 8192, "server"),
        ("udp", 64, "read:core=0"),
        ("iperf3:length=512", 1448, "server:core=65534"),
    ],
)
def test_one_after_the_other(bed: Bed, kind: str, payload: int, sink: str) -> None:
    traffic = Traffic(payload, kind=Spec.parse(kind))
    sample = run(bed, Variant.parse("docker/none"), Load(traffic, Spec.parse(sink), 0.2, 0.0))
    assert sample.delivered > 0
    assert sample.reasons == []
