"""The observers: every moment of a core is charged to somebody, once, and to the right one."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from bench.observer import COUNTS, KINDS, VECTORS, Observer
from bench.reasons import Reasons
from steering import bpf

pytestmark = pytest.mark.root

CORE = max(os.sched_getaffinity(0))


@pytest.fixture(scope="module")
def observer() -> Iterator[Observer]:
    with Observer() as made:
        yield made


def pinned(work: Callable[[], object]) -> int:
    """Do some work in a thread on CORE; returns the CPU time that it took, in ns."""
    taken = []

    def run() -> None:
        os.sched_setaffinity(0, {CORE})
        begin = time.thread_time_ns()
        work()
        taken.append(time.thread_time_ns() - begin)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return taken[0]


def spin(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def change(before: np.ndarray, after: np.ndarray, part: str) -> np.ndarray:
    return after[CORE][part].astype(np.int64) - before[CORE][part].astype(np.int64)


def test_all_time_is_charged_once(observer: Observer) -> None:
    before = observer.read([CORE])
    pinned(lambda: spin(0.1))
    time.sleep(0.1)
    after = observer.read([CORE])
    charged = change(before, after, "ran").sum() + change(before, after, "served").sum()
    passed = change(before, after, "since") - change(before, after, "pending")
    assert abs(charged - passed) < 100_000  # an interrupt of the reading's own may be under way
    assert change(before, after, "since") > 0.19e9


def test_a_watched_thread_is_charged_what_it_ran(observer: Observer) -> None:
    def work() -> None:
        observer.watch([threading.get_native_id()], "application")
        spin(0.2)

    before = observer.read([CORE])
    taken = pinned(work)
    after = observer.read([CORE])
    # The kernel's clock of a thread has softirqs in it that interrupt it, ours has stolen time.
    ran = change(before, after, "ran")[KINDS["application"]]
    interrupted = change(before, after, "served").sum()
    assert taken - interrupted - 40e6 < ran < taken + 40e6
    observer.watch([], "application")
    before = observer.read([CORE])
    pinned(lambda: spin(0.05))
    after = observer.read([CORE])
    assert change(before, after, "ran")[KINDS["application"]] == 0


def test_a_thread_still_running_is_charged_when_read(observer: Observer) -> None:
    stop = threading.Event()

    def work() -> None:
        observer.watch([threading.get_native_id()], "wire")
        while not stop.is_set():
            spin(0.01)

    thread = threading.Thread(target=lambda: pinned(work))
    thread.start()
    time.sleep(0.05)
    before = observer.read([CORE])
    time.sleep(0.2)
    after = observer.read([CORE])
    stop.set()
    thread.join()
    assert change(before, after, "ran")[KINDS["wire"]] > 0.02e9


def test_sleeping_and_softirqs_are_counted(observer: Observer) -> None:
    def work() -> None:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other,
        ):
            other.bind(("127.0.0.1", 0))
            for _ in range(100):
                one.sendto(b"x", other.getsockname())
                time.sleep(1e-4)

    before = observer.read([CORE])
    pinned(work)
    after = observer.read([CORE])
    assert change(before, after, "count")[COUNTS["switches"]] >= 100
    received = VECTORS["net_rx"]
    assert change(before, after, "entries")[received] >= 100
    assert change(before, after, "raised")[received] >= 100
    assert change(before, after, "served")[received] > 100 * 200
    assert change(before, after, "count")[COUNTS["polls"]] >= 100
    assert change(before, after, "count")[COUNTS["polled"]] >= 100


def test_the_observers_know_their_own_cost(observer: Observer) -> None:
    with bpf.stats_enabled():
        before = observer.own_time()
        pinned(lambda: [time.sleep(1e-4) for _ in range(100)])
        used = observer.own_time() - before
    assert 0 < used < 0.1e9


def test_the_kernels_reasons() -> None:
    with Reasons() as reasons, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
            closed.bind(("127.0.0.1", 0))
            nobody = closed.getsockname()
        for _ in range(50):
            one.sendto(b"x", nobody)
        assert reasons.read()["no_socket"] >= 50
