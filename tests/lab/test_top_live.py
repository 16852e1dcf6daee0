"""`overspray top` on a lab with traffic: the cores, the counts, and no trace when it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from attached import EVERYTHING, until

from bench import lab as labs
from bench.lab_plan import Lab
from bench.sinks import CountSink
from bench.traffic import Traffic
from bench.wire import Wire
from steering import bpf, netns
from steering.overlay.hooks import programs_at

pytestmark = [pytest.mark.root, pytest.mark.slow]
LAB = "otop"
MAIN = "from bench.cli import main; main()"
RATE = 20_000


def start(*words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", MAIN, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def overspray(*words: str, code: int = 0) -> str:
    process = start(*words)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    return err if code else out


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with labs.held(labs.LabSpec("docker", LAB)) as made:
        here = ("--netns", made.host_ns, "--cpus", str(max(os.sched_getaffinity(0))))
        policy = ("--policy", "flowcell:cell=8,local=50", "--detached")
        overspray("attach", made.nic, *here, *policy)
        yield made
        overspray("detach", made.nic)


@pytest.fixture(scope="module")
def traffic(lab: Lab) -> Iterator[Wire]:
    with Wire(lab) as wire, CountSink(lab) as sink:
        sink.configure(1, EVERYTHING)
        wire.configure(Traffic(rate=RATE), 1, (0,))
        wire.start()
        yield wire
        wire.stop()


def tc_programs(lab: Lab) -> int:
    with netns.entered(lab.host_ns):
        from pyroute2 import IPRoute

        with IPRoute() as route:
            index = route.link_lookup(ifname=lab.nic)[0]
        return len(programs_at(index, bpf.ATTACH_TCX_INGRESS))


def test_what_each_core_does(lab: Lab, traffic: Wire) -> None:
    before, begun = traffic.offered().sent, time.monotonic()
    lines = overspray("top", lab.nic, "--json", "--count", "2", "--interval", "0.5").splitlines()
    sent = (traffic.offered().sent - before) / (time.monotonic() - begun)
    looks: list[dict[str, Any]] = [json.loads(line) for line in lines]
    assert len(looks) == 2
    for look in looks:
        cores = {core["role"]: core for core in look["cores"]}
        nic, worker = cores["nic"], cores["worker 1"]
        assert (nic["core"], worker["core"]) == (0, max(os.sched_getaffinity(0)))
        assert nic["arrived"] == pytest.approx(sent, rel=0.4)  # of a wire on a busy machine
        assert nic["packets"] + worker["packets"] == pytest.approx(nic["arrived"], rel=0.05)
        # Every other cell of 8 goes to the worker, and is taken out by at most 8.
        assert nic["share"] == pytest.approx(0.5, abs=0.03)
        assert 1 <= worker["bulk"] <= 8
        assert nic["merge"] == worker["merge"] == 1
        assert nic["moved"] > 0
        assert nic["back"] == 0
        cells = look["counters"]
        assert cells["cells_local"] == pytest.approx(nic["packets"] / 8, rel=0.1)
        assert cells["cells_remote"] == pytest.approx(worker["packets"] / 8, rel=0.1)


def test_a_table_for_a_pipe(lab: Lab, traffic: Wire) -> None:
    text = overspray("top", "--count", "1", "--interval", "0.2")
    assert "worker 1" in text
    assert "cells that stayed on the NIC's core" in text
    assert "\x1b" not in text


def test_interrupted_it_ends_well_and_leaves_nothing(lab: Lab, traffic: Wire) -> None:
    until(lambda: tc_programs(lab) == 1, seconds=20)
    process = start("top", lab.nic, "--json", "--interval", "0.1")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["policy"] == "flowcell"
    assert tc_programs(lab) == 2  # order is watched
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (0, "")
    until(lambda: tc_programs(lab) == 1, seconds=20)


def test_status_has_the_policys_counters(lab: Lab, traffic: Wire) -> None:
    (facts,) = json.loads(overspray("status", lab.nic, "--json"))["controllers"]
    counters = facts["counters"]["policy"]
    assert counters["cells_remote"]["count"] > 0
    assert counters["cells_remote"]["meaning"] == "cells that went to a worker"


@pytest.mark.parametrize(
    ("words", "says"),
    [(["nic7"], "'nic7' is not attached"), (["--interval", "0"], "at least 0.05")],
)
def test_bad_input(lab: Lab, words: list[str], says: str) -> None:
    error = overspray("top", *words, code=2)
    assert says in error
    assert error.count("\n") == 1
