"""The harness on the real kernel: conservation, which core gets the packets, a clean end."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import lab as labs
from bench.bed import Bed, BedSpec
from bench.experiment import Placement
from bench.run import Load, on, run
from bench.run import Place as RunPlace
from bench.sample import Sample
from bench.sinks import CountSink
from bench.traffic import Traffic
from bench.variant import Variant
from steering import netns
from steering.errors import OversprayError
from steering.spec import Spec

pytestmark = pytest.mark.root
CORES = Placement(nic=0, workers=(1,), app=1)
COUNT = Spec("count")
SHARED, OWN = "abx", "abxown"
"""Labs of the bed that most tests share, and of those that bring up their own."""
MAIN = "import sys; from bench.cli import main; main()"


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("host cannot: spread over one core")
    with Bed(CORES, BedSpec(name=SHARED)) as made:
        yield made


@pytest.fixture
def own_lab_gone() -> Iterator[None]:
    """Fails the test that leaves a namespace or a record of its lab behind."""
    yield
    assert not netns.names(OWN)
    assert not [path.name for path in labs.STATE.glob(f"{OWN}*")]


def measured(bed: Bed, text: str, traffic: Traffic | None = None, sink: Spec = COUNT) -> Sample:
    # A reader is a process: on a busy machine it may have to wait for its core.
    load = Load(traffic or Traffic(), sink, 0.05 if sink == COUNT else 0.4, 0.02)
    return run(bed, Variant.parse(text), load)


def conserved(sample: Sample) -> bool:
    assert sample.delivered > 0
    assert sample.unaccounted == 0, (sample.offered, sample.delivered, sample.drops)
    return not [reason for reason in sample.invalid if "wire is the limit" not in reason]


@pytest.mark.parametrize(
    "text",
    [
        "native/none",
        "native/rps",
        "linux/none",
        "linux/rps-vxlan",
        "linux/backlog",
        "docker/none",
        "docker/rps",
        "docker/rps-vxlan",
        "docker/rps-veth",
        "docker/none+gro-list",
        "docker/rps:mask=3",
        "docker/local",
        "docker/pin",
        "docker/roundrobin",
        "docker/flowcell:cell=64,local=50",
        "docker/backlog",
        "docker/backlog+gro-list",
        "docker/backlog:deliver=veth",
        "flannel/none",
        "flannel/rps",
        "flannel/backlog",
        "flannel/roundrobin:deliver=veth",
    ],
)
def test_every_packet_is_accounted_for(bed: Bed, text: str) -> None:
    assert conserved(measured(bed, text))


def test_overloaded_rps_loses_packets_and_names_where(bed: Bed) -> None:
    sample = measured(bed, "docker/rps")
    assert sample.loss > 0.05
    assert sum(sum(names.values()) for names in sample.drops.values()) > 0


@pytest.mark.parametrize("payload", [18, 19, 1400, 1422])
@pytest.mark.parametrize("text", ["docker/none", "docker/backlog"])
def test_any_payload_up_to_the_mtu(bed: Bed, text: str, payload: int) -> None:
    sample = measured(bed, text, Traffic(payload=payload))
    assert conserved(sample)
    assert sample.delivered_bytes == sample.delivered * payload


@pytest.mark.parametrize("text", ["flannel/none", "flannel/rss", "flannel/backlog", "flannel/rps"])
def test_five_flows(bed: Bed, text: str) -> None:
    assert conserved(measured(bed, text, Traffic(flows=5)))


@pytest.mark.parametrize("text", ["docker/none", "docker/rfs", "docker/backlog:limit=32,cell=32"])
def test_an_application_that_reads(bed: Bed, text: str) -> None:
    sample = measured(bed, text, Traffic(rate=50_000), Spec("read"))
    assert conserved(sample)
    assert sample.latency["p50"] > 0


@pytest.mark.parametrize("sink", ["read:gro=1", "read:busy=50", "read:gro=1,busy=50"])
@pytest.mark.parametrize("text", ["docker/none+gro", "native/none+gro", "docker/backlog"])
def test_a_reader_that_takes_what_gro_made_or_polls(bed: Bed, text: str, sink: str) -> None:
    traffic = Traffic(rate=200_000, payload=601)
    sample = measured(bed, text, traffic, Spec.parse(sink))
    assert conserved(sample)
    assert sample.delivered_bytes == sample.delivered * 601


def test_paced_traffic_is_timed_packet_by_packet(bed: Bed) -> None:
    sample = measured(bed, "docker/local", Traffic(rate=50_000))
    assert conserved(sample)
    assert sample.loss == 0
    assert sample.order["reordered"] == 0
    assert sample.latency["p50"] <= sample.latency["p99"] <= sample.latency["p99.9"]


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("docker/none", {0}),
        ("docker/rps-vxlan:mask=2", {1}),
        ("docker/rps:mask=2", {1}),
        ("docker/rps-veth:mask=2", {1}),
        ("docker/local", {0}),
        ("docker/pin", {1}),
        ("docker/roundrobin", {0, 1}),
    ],
)
def test_which_core_gets_the_packets(bed: Bed, text: str, cores: set[int]) -> None:
    variant = Variant.parse(text)
    with on(bed)(variant) as measure:
        measure(Load(Traffic(rate=50_000), COUNT, 0.05, 0.0), RunPlace())
        sink = bed.sink("docker", COUNT, Traffic())
        assert isinstance(sink, CountSink)
        assert {core for core, count in enumerate(sink.by_core()) if count} <= cores
        assert sum(map(int, sink.by_core())) > 0


def test_rss_sends_flows_to_the_cores_of_their_queues(bed: Bed) -> None:
    with on(bed)(Variant.parse("docker/rss")) as measure:
        traffic = Traffic(flows=16)
        sample = measure(Load(traffic, COUNT, 0.05, 0.0), RunPlace())
        sink = bed.sink("docker", COUNT, traffic)
        assert isinstance(sink, CountSink)
        assert {core for core, count in enumerate(sink.by_core()) if count} == {0, 1}
    assert conserved(sample)


def test_a_lab_has_one_user(bed: Bed) -> None:
    with pytest.raises(OversprayError, match="in use by another run"):
        Bed(CORES, BedSpec(name=SHARED))


@pytest.mark.parametrize("settings", [{"outer": 6}, {"inner": 6}, {"containers": 3}])
def test_other_labs(settings: dict[str, int], own_lab_gone: None) -> None:
    with Bed(CORES, BedSpec(name=OWN, **settings)) as other:
        for text in ("docker/none", "docker/backlog"):
            flows = settings.get("containers", 1)
            assert conserved(measured(other, text, Traffic(flows=flows)))


class TestCommands:
    def test_ab_prints_one_object(self, own_lab_gone: None) -> None:
        done = command(
            *["ab", "flannel/none", "flannel/backlog+gro-list", "--rounds", "3"],
            *["--seconds", "0.1", "--rate", "max", "--lab", OWN, "--json"],
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        assert {"a", "b", "metric", "ratio", "verdict", "rounds", "variants"} <= found.keys()
        assert found["ratio"].keys() == {"median", "low", "high"}
        assert len(found["rounds"]) == 3
        for variant in found["variants"].values():
            assert variant["rate_pps"] > 0
            assert variant["cores"]
            assert variant["per_packet"]["softirqs"] > 0
            assert not [r for r in variant["invalid"] if "unaccounted" in r]

    def test_what_a_case_lacks_is_bad_input(self, own_lab_gone: None) -> None:
        done = command("ab", "native/none", "native/rps-vxlan", "--lab", OWN)
        assert done.returncode == 2
        assert "tunnel" in done.stderr
        assert "Traceback" not in done.stderr

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_broken_off_experiment_can_be_resumed(
        self, number: signal.Signals, tmp_path: Path, own_lab_gone: None
    ) -> None:
        file = tmp_path / "small.toml"
        file.write_text(EXPERIMENT)
        arguments = ["bench", str(file), "--lab", OWN, "--out", str(tmp_path / "results")]
        process = subprocess.Popen(
            [sys.executable, "-c", MAIN, *arguments], stderr=subprocess.PIPE, text=True
        )
        directory = wait_for_runs(tmp_path / "results", 2)
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 128 + number
        assert "--resume" in errors
        assert "Traceback" not in errors
        again = command(*arguments, "--resume", str(directory))
        assert again.returncode == 0, again.stderr
        lines = (directory / "samples.jsonl").read_text().splitlines()
        keys = [(row["round"], row["variant"]) for row in map(json.loads, lines)]
        assert len(keys) == len(set(keys)) == 6
        assert (directory / "report.html").is_file()


EXPERIMENT = """
name = "small"
title = "A small one"
question = "?"
rounds = 3
seconds = 0.2
warmup = 0.02
baselines = ["none"]
matrix.rate = ["max"]
groups = [{cases = ["flannel"], variants = ["none", "none+gro-list"]}]
"""


def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", MAIN, *arguments], capture_output=True, text=True, timeout=100
    )


def wait_for_runs(root: Path, count: int) -> Path:
    for _ in range(600):
        for file in root.glob("*/samples.jsonl"):
            if file.read_text().count("\n") >= count:
                return file.parent
        time.sleep(0.05)
    raise AssertionError(f"no {count} runs within 30 s")
