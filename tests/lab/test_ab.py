"""``overspray ab`` as a person types it: short runs, whose figures mean nothing."""

import json
import re
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from commands import ROOT, command, overspray

from bench import lab as labs
from bench.bed import Bed
from bench.profile import STAGES
from bench.run import measured, run
from bench.traffic import Traffic
from bench.variant import Variant
from bench.wire import on_core
from steering import cores, netns
from steering.settings import Feature
from steering.waiting import wait_for

pytestmark = pytest.mark.needs("cpumap programs", "tc links")

SHORT = ("--seconds", "0.02", "--rounds", "2")


def own(pid: int) -> list[str]:
    return [name for name in netns.names() if name.startswith(f"os-{pid}-")]


def test_its_report_is_whole() -> None:
    variants = ("native/none", "flannel/backlog:cell=8,limit=64+gro-list")
    done = overspray("ab", *variants, *SHORT, "--ip", "6", "--outer-ip", "6", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["a"], found["metric"]) == ("native/none", "delivered_pps")
    assert found["b"] == "flannel/backlog:cell=8,limit=64+gro-list"
    assert found["ratio"]["low"] <= found["ratio"]["median"] <= found["ratio"]["high"]
    assert found["verdict"] in ("inconclusive", "invalid")  # two rounds support none
    assert len(found["rounds"]) == 2
    for side in "ab":
        row = found["variants"][side]
        assert row["delivered_pps"] > 0
        assert 0 <= row["loss"] <= 1
        assert set(row["busy"]) == {str(core) for core in cores.online()}
        assert set(row["latency_ns"]) == {"p50", "p99", "p99.9"}
        assert {"softirqs", "polls", "polled", "bulked", "switches", "ipis"} <= set(row["per_packet"])
        assert row["explained"]["unexplained"] == 0
    assert found["unequal"]["nic0 rx-gro-list"] == ["off", "on"]
    assert "effective" not in done.stdout
    assert "a native/none: nic0 mtu 1600" in done.stderr
    assert "round 2/2: a " in done.stderr


RUNS = (
    "flannel/rps-veth+udp-forward",
    "docker/none+threaded+defer",
    "flannel/local+threaded",
    "native/none",
    "flannel/rps:mask=1",
    "flannel/rps-vxlan+gro",
    "docker/none:netfilter=1+gro-list",
    "docker/local",
    "linux/rss",
    "docker/roundrobin+gro-list",
    "flannel/roundrobin:deliver=veth",
    "flannel/stage:stack=1",
)


def test_every_run_accounts_for_every_packet() -> None:
    variants = [Variant.parse(text) for text in RUNS]
    with Bed(variants, Traffic(64, flows=2)) as bed:
        samples = [run(bed, variant, 0.02, 0.01, 0) for variant in variants]
        with bed.in_effect(variants[1]) as effect:
            with netns.entered(effect.case.lab.host_ns):
                Feature("nic0", "rx-gro").write("on")  # as a kernel may, by itself
            changed = measured(bed, variants[1], effect, 0.02, 0.01, 0)
    assert changed.invalid == ["rx-gro of nic0 is on, not off"]
    for variant, sample in zip(variants, samples, strict=True):
        assert sample.invalid == [], variant
        assert sample.delivered <= sample.offered
        assert sample.bytes == 64 * sample.delivered
        if not variant.is_stock:
            # What the NIC's ring could not take is the wire's loss; its devices count it once more.
            stages = [names for stage, names in sample.drops.items() if stage != "device"]
            lost = sum(sum(names.values()) for names in stages)
            assert sample.offered == sample.delivered + lost, variant
        for kinds in sample.cores.values():
            assert sum(kinds.values()) == pytest.approx(1)


def test_each_run_of_one_datapath_has_books_of_its_own() -> None:
    """As the trials of a search are: the datapath's counters go on from one to the next."""
    variant = Variant.parse("flannel/pin:queue=64")
    with Bed([variant], Traffic(batch=256)) as bed, bed.in_effect(variant) as effect:
        first, second = (measured(bed, variant, effect, 0.02, 0.0, number) for number in (0, 1))
    assert first.drops["worker"]["drop_queue_full"] > 0, "as fast as it goes, it is full at times"
    for sample in (first, second):
        assert sample.invalid == []
        lost = sum(sum(names.values()) for stage, names in sample.drops.items() if stage != "device")
        assert sample.offered == sample.delivered + lost


def test_broken_off_it_leaves_nothing() -> None:
    line = command("ab", "flannel/none", "flannel/local", "--rounds", "1000", "--seconds", "0.05")
    with subprocess.Popen(
        line, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        while "round 1/" not in process.stderr.readline():
            assert process.poll() is None
        assert len(own(process.pid)) == 3
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=40)
    assert (process.returncode, out) == (130, "")
    assert own(process.pid) == []


def test_on_one_core_alone_everything_is_local() -> None:
    """As `taskset` or a cpuset leaves it: no core that may not be used is used."""
    core, variant = cores.usable()[-1], Variant.parse("flannel/backlog")
    traffic = Traffic(flows=3, rate=20_000)
    with on_core(core), Bed([variant], traffic) as bed, bed.in_effect(variant) as effect:
        sample = measured(bed, variant, effect, 0.02, 0.0, 0)
        assert effect.datapath is not None
        totals = effect.datapath.totals()
    assert sample.invalid == [] and sample.order["reordered"] == 0
    assert (totals.sent, totals.local) == ({}, {core: sample.delivered})
    assert sample.cores[str(core)]["wire"] > 0


def cpumaps(pid: int) -> set[str]:
    """The numbers of a process's cpumaps."""
    found = set()
    for file in Path(f"/proc/{pid}/fdinfo").iterdir():
        with suppress(OSError):
            told = dict(line.split(":", 1) for line in file.read_text().splitlines() if ":" in line)
            if told.get("map_type", "").strip() == "16":
                found.add(told["map_id"].strip())
    return found


def workers(maps: set[str]) -> set[str]:
    """The threads of these cpumaps, which are named after them; other runs have some, too."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/comm"):
        with suppress(OSError):
            name = re.fullmatch(r"cpumap/\d+/map:(\d+)", path.read_text().strip())
            if name and name[1] in maps:
                found.add(path.parent.name)
    return found


def test_killed_under_traffic_it_leaves_nothing_that_the_next_one_does_not_remove() -> None:
    """SIGKILL: programs and worker threads go with the process, namespaces with the next command."""
    line = command("ab", "flannel/pin", "flannel/pin+gro-list", "--rounds", "1000", "--seconds", "0.02")
    with subprocess.Popen(
        line, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        while "round 1/" not in process.stderr.readline():
            assert process.poll() is None
        left = own(process.pid)
        maps = cpumaps(process.pid)
        assert len(left) == 3 and maps and workers(maps)
        process.kill()
    wait_for(lambda: not workers(maps), "the workers' threads to end")
    assert own(process.pid) == left
    with labs.lab():
        assert own(process.pid) == []
        assert list(Path("/run/overspray/undo").glob(f"{process.pid}-*")) == []


def test_a_profile_tells_stages_by_core() -> None:
    done = overspray("profile", "flannel/local", "--seconds", "0.05", "--json")
    assert done.returncode == 0, done.stderr
    [found] = json.loads(done.stdout)
    assert found["variant"] == "flannel/local"
    core = str(cores.usable()[0])
    assert found["samples"][core] > 0
    named = set(found["stages"][core])
    assert named - {"other"} and named <= {*STAGES, "other"}
