"""SIGKILL at random moments while packets flow: the stock path takes over, and the next attach just works."""

import os
import random
import signal
import time
from pathlib import Path

import pytest
from attaching import attached, host_links, macs
from commands import overspray
from ground import NIC_CORE

from bench import lab as labs
from bench.sink import Sink
from bench.traffic import Traffic
from bench.wire import Wire
from steering import netns
from steering.attached import FOLDER
from steering.owner import start_of
from steering.settings import Feature
from steering.waiting import wait_for

pytestmark = pytest.mark.timeout(1200)
MOMENTS = 100
SEED = 1
N = 640


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def await_more(sink: Sink, seen: int) -> None:
    wait_for(lambda: sink.delivered >= seen + N, "the stock path to take over")


def await_end(pids: list[int]) -> None:
    wait_for(lambda: all(start_of(each) is None for each in pids), "the guardian to be done")


@pytest.mark.parametrize("case", ["flannel", "docker"])
def test_at_random_moments(case: str) -> None:
    pick = random.Random(SEED)
    with (
        labs.lab(case, 2) as lab,
        Sink(lab) as sink,
        Wire(lab, Traffic(flows=2, rate=20_000), NIC_CORE) as wire,
    ):
        with netns.entered(lab.host_ns):
            Feature("nic0", "rx-gro").write("on")  # a veth takes what the wire sends only while it has NAPI
        before = host_links(lab)
        with wire.running():
            for moment in range(MOMENTS // 2):
                with attached(lab) as running:
                    time.sleep(pick.uniform(0.3, 1.5))  # the moment is what is tested: any will do
                    guardians = children(running.process.pid)
                    if moment % 2:
                        for guardian in guardians:
                            os.kill(guardian, signal.SIGKILL)
                    running.end(signal.SIGKILL)
                seen = sink.delivered
                await_more(sink, seen)
                await_end(guardians)
                if moment % 2:
                    with netns.entered(lab.host_ns):
                        done = overspray("status", "nic0")
                    assert done.returncode == 2 and "nothing is attached" in done.stderr, done.stderr
                assert host_links(lab) == before, moment
                assert not [
                    path for path in FOLDER.glob("*") if f'"pid": {running.process.pid},' in path.read_text()
                ]
        with attached(lab) as running:
            running.await_serving(*macs(lab))
            seen = sink.delivered
            wire.send_windowed(N, lambda: sink.delivered - seen)
            counted = running.counted()
            assert (counted["delivered"], counted["passed"]) == (N, 0)
        assert host_links(lab) == before
