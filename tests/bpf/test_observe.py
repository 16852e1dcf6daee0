"""The observer and the losses on the running kernel: every moment has one kind, every event is seen.

Others use the machine too: what is global is asserted to grow by at least what the test does.
"""

import os
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from bench.losses import Losses, by_stage
from bench.observer import KINDS, Observer, Reading, cost
from steering import bpf, cores, netns
from steering.bpf import Kind
from steering.compile import Module
from steering.errors import OversprayError
from steering.waiting import wait_for

CORE = cores.usable()[-1]
FRAMES = 64

WORKER = """
#include "compat.h"
struct worker { __u32 queue; int program; };
BPF_XDP_REDIRECT_MAP("cpumap", struct worker, workers, CORES);
int hand_over(struct xdp_md *ctx) { return workers.redirect_map(CORE, XDP_DROP); }
int swallow(struct xdp_md *ctx) { return XDP_DROP; }
"""


@pytest.fixture
def observer() -> Iterator[Observer]:
    with Observer() as made:
        yield made


@contextmanager
def spinning(observer: Observer | None) -> Iterator[None]:
    """A thread keeps CORE busy, watched by the observer, until the block ends."""
    ready, stop, work = threading.Event(), threading.Event(), bytes(1 << 16)

    def spin() -> None:
        os.sched_setaffinity(0, {CORE})
        if observer:
            observer.watch(threading.get_native_id())
        ready.set()
        while not stop.is_set():
            zlib.crc32(work)  # without the interpreter's lock: nobody waits for it

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    try:
        assert ready.wait(20)
        yield
    finally:
        stop.set()
        thread.join()


def grown(before: Reading, after: Reading, kind: str) -> int:
    return after.ns[CORE][kind] - before.ns[CORE][kind]


def until(observer: Observer, before: Reading, kind: str) -> Reading:
    """The first reading in which CORE has spent time on that kind."""
    return wait_for(
        lambda: after if grown(before, after := observer.read(), kind) > 0 else None, f"{kind} to grow"
    )


def check(before: Reading, after: Reading) -> None:
    """What holds between any two readings."""
    assert after.ns.keys() == after.since.keys() == set(cores.online())
    for core, kinds in after.ns.items():
        changes = {kind: ns - before.ns[core][kind] for kind, ns in kinds.items()}
        assert [*changes] == KINDS
        assert min(changes.values()) >= 0
        assert sum(changes.values()) == after.since[core] - before.since[core] > 0
    assert all(count >= before.events[name] for name, count in after.events.items())
    assert all(sum(shares.values()) == pytest.approx(1) for shares in cost(before, after).cores.values())


def test_a_watched_thread_is_the_wires(observer: Observer) -> None:
    begun = observer.read()
    with spinning(observer):
        before = observer.read()
        after = until(observer, before, "wire")
    assert cost(before, after).wire_share > 0
    check(begun, before)
    check(before, after)


def test_a_thread_that_nobody_watches_is_another(observer: Observer) -> None:
    before = observer.read()
    with spinning(None):
        after = until(observer, before, "other")
    assert grown(before, after, "wire") == 0
    check(before, after)


def test_a_thread_that_polls_a_device_is_a_softirq(observer: Observer) -> None:
    """All of its time, as the scheduler counts it; threads of that kind are known by their name."""
    used: list[int] = []

    def poll() -> None:
        os.sched_setaffinity(0, {CORE})
        Path("/proc/thread-self/comm").write_text("napi/test-1")
        begun = time.thread_time_ns()
        while time.thread_time_ns() - begun < 20_000_000:
            pass
        used.append(time.thread_time_ns() - begun)

    before = observer.read()
    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    thread.join()
    after = observer.read()
    assert grown(before, after, "softirq") >= used[0] > 0
    check(before, after)


def test_readings_add_up_whatever_they_interrupt(observer: Observer) -> None:
    last = observer.read()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one, spinning(observer):
        one.bind(("127.0.0.1", 0))
        for _ in range(100):
            one.sendto(b"x", one.getsockname())
            one.recv(1)
            check(last, last := observer.read())


def test_softirqs_polls_and_switches_are_counted(observer: Observer) -> None:
    before = observer.read()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        for _ in range(100):
            one.sendto(b"x", one.getsockname())
            one.recv(1)

    def seen() -> Reading | None:
        after = observer.read()
        found = cost(before, after).events
        enough = found["polled"] >= 100 and found["softirqs"] > 0 and found["switches"] > 0
        return after if enough and found["polls"] > 0 else None

    # A turn of waiting sleeps: a context switch at least.
    after = wait_for(seen, lambda: f"100 polled datagrams: {cost(before, observer.read()).events}")
    check(before, after)


def test_interrupts_from_other_cores_are_counted(observer: Observer) -> None:
    """Each reading interrupts every core but its own; an idle one may look by itself, a busy one does not."""
    before, least = observer.read(), 20 * (len(cores.online()) - 1)
    with spinning(observer):
        wait_for(
            lambda: observer.read().events["ipis"] - before.events["ipis"] >= least,
            lambda: f"{least} interrupts: {cost(before, observer.read()).events}",
        )


def test_the_observers_programs_are_timed(observer: Observer) -> None:
    assert {"softirq_entry", "sched_switch", "ipi"} <= set(observer.programs)
    with bpf.Statistics():
        begun = bpf.runs(observer.programs["sched_switch"])
        before = observer.read()
        wait_for(lambda: cost(before, observer.read()).events["switches"] >= 20, "20 context switches")
        ran = bpf.runs(observer.programs["sched_switch"]) - begun
    assert ran.count >= 20
    assert ran.ns > 0


def test_a_cpumap_thread_has_a_kind_and_bulks(
    observer: Observer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("steering.compile.SOURCES", tmp_path)
    (tmp_path / "worker.bpf.c").write_text(WORKER)
    before = observer.read()
    with (
        Module("worker.bpf.c", defines={"CORE": CORE, "CORES": cores.possible()}) as module,
        netns.nameless(),
    ):
        program = module.load("swallow", Kind.CPUMAP)
        module.map("workers").put(CORE, FRAMES.to_bytes(4, "little") + program.to_bytes(4, "little"))
        bpf.run_live(module.load("hand_over", Kind.XDP), bytes(60), FRAMES, FRAMES)
        wait_for(
            lambda: observer.read().events["bulked"] - before.events["bulked"] >= FRAMES,
            lambda: f"{FRAMES} frames in bulks: {cost(before, observer.read()).events}",
        )
        after = until(observer, before, "cpumap")
    found = cost(before, after).events
    assert 0 < found["bulks"] <= found["bulked"]
    assert found["sleeps"] > 0
    check(before, after)


def test_a_closed_observer_leaves_no_descriptor() -> None:
    def use() -> int:
        with Observer() as made:
            made.read()
        made.close()
        return len(list(Path("/proc/self/fd").iterdir()))

    assert use() == use()


def test_losses_are_read_from_outside_the_namespace() -> None:
    """20 datagrams to a port that nobody has, in a namespace whose name is gone meanwhile."""
    name = f"test{os.getpid()}-losses"
    netns.create(name)
    try:
        with Losses([name]) as losses:
            before = losses.read()
            with netns.entered(name), IPRoute() as ip, socket.socket(type=socket.SOCK_DGRAM) as one:
                ip.link("set", index=1, state="up")
                for _ in range(20):
                    one.sendto(b"x", ("127.0.0.1", 9))
            netns.remove(name)
            wait_for(lambda: losses.read()["udp.no_port"] - before["udp.no_port"] >= 20, "20 lost datagrams")
            found = by_stage(before, losses.read())
    finally:
        netns.remove(name)
    assert found["udp"] == {"no_port": 20}
    assert "ip" not in found
    assert "device" not in found


def test_a_namespace_that_is_not_there_is_named() -> None:
    with pytest.raises(OversprayError, match="no network namespace 'nowhere'"):
        Losses(["nowhere"])
