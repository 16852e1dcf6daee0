"""Any application behind the sink's address: counted at its socket, and ended with the sink."""

import json
import os
import shlex
import sys
from pathlib import Path

import pytest
from commands import overspray
from ground import NIC_CORE, WORKER_CORE

from bench.application import Runs
from bench.lab import Lab
from bench.seen import passing
from bench.sink import EVERY, Sink
from bench.traffic import Traffic
from bench.wire import Wire
from steering.errors import OversprayError
from steering.waiting import wait_for

N = 2048
READS = """
import socket, sys
one = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
one.setsockopt(socket.SOL_SOCKET, 33, 4 << 20)  # SO_RCVBUFFORCE: else 50 packets fill it, of a window of 64
one.bind((sys.argv[1], int(sys.argv[2])))
while True:
    got = len(one.recv(9000))
    with open(sys.argv[3], "ab") as told:
        told.write(b"%d\\n" % got)
"""


def python(text: str, *words: str) -> Runs:
    """An application of that text."""
    return Runs(WORKER_CORE, shlex.join([sys.executable, "-c", text, "{address}", "{port}", *words]))


def test_it_has_what_was_counted_at_its_socket(flannel: Lab, tmp_path: Path) -> None:
    """The oracle is what the application itself has written down."""
    told = tmp_path / "told"
    told.touch()
    with (
        passing(flannel),
        Sink(flannel, EVERY, python(READS, str(told))) as sink,
        Wire(flannel, Traffic(), NIC_CORE) as wire,
    ):
        [thread] = sink.threads
        assert os.sched_getaffinity(thread) == {WORKER_CORE}
        wire.send_windowed(N, lambda: sink.delivered)
        wait_for(lambda: told.read_text().count("\n") >= N, "the application")
        assert told.read_text().split() == ["18"] * N
        assert (sink.arrived, sink.delivered, sink.bytes, sink.unlogged) == (N, N, 18 * N, 0)
        assert sink.order().reordered == 0 and int(sink.latency().sum()) == N
    assert not Path(f"/proc/{thread}").exists(), "it ends with the sink"


def test_what_has_no_room_in_its_socket_is_not_delivered(flannel: Lab) -> None:
    """It never reads: its socket holds some, and the kernel counts the others."""
    never = """
import socket, sys, time
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
one.bind((sys.argv[1], int(sys.argv[2])))
time.sleep(1000)
"""
    with (
        passing(flannel),
        Sink(flannel, EVERY, python(never)) as sink,
        Wire(flannel, Traffic(), NIC_CORE) as wire,
    ):
        wire.send_windowed(N, lambda: sink.arrived)
        assert sink.arrived == N and 0 < sink.delivered < N // 2
        held = sink.delivered
        sink.begin(wire.traffic.run)
        wire.send_windowed(N, lambda: sink.arrived)
        assert (sink.arrived, sink.delivered) == (N, 0), f"it still holds the {held} of the first run"


def test_a_child_of_it_may_hold_the_socket(flannel: Lab, tmp_path: Path) -> None:
    told = tmp_path / "told"
    inner = python(READS, str(told)).command
    with (
        passing(flannel),
        Sink(flannel, EVERY, Runs(WORKER_CORE, f"sh -c {shlex.quote(f'{inner}; true')}")) as sink,
        Wire(flannel, Traffic(), NIC_CORE) as wire,
    ):
        threads = sink.threads
        assert len(threads) == 2
        wire.send_windowed(100, lambda: sink.delivered)
    for thread in threads:
        wait_for(lambda thread=thread: not Path(f"/proc/{thread}").exists(), "its child to end")


def test_one_that_ends_says_why(flannel: Lab) -> None:
    with pytest.raises(OversprayError, match=r"the application '.*' ended: .*no such port"):
        Sink(flannel, EVERY, python("import sys; sys.exit('no such port')"))


def test_it_may_print_without_bound(flannel: Lab) -> None:
    """The end of it is kept, by a pipe: a file would grow."""
    prints = """
import os, sys
print("x" * 9_000_000, flush=True)
sys.exit("into " + os.readlink("/proc/self/fd/1"))
"""
    with pytest.raises(OversprayError, match=r"(?s)the application '.*' ended: into pipe:"):
        Sink(flannel, EVERY, python(prints))


def test_as_a_person_types_it(tmp_path: Path) -> None:
    command = python(READS, str(tmp_path / "told")).command
    line = ("ab", "flannel/none", "flannel/none", "--sink", f"app:run={command}", "--rate", "2000")
    done = overspray(
        *line, "--batch", "8", "--seconds", "0.02", "--rounds", "1", "--no-explain", "--mtu", "1300", "--json"
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["sink"] == f"app:core={WORKER_CORE},run={command}"
    assert report["lab"] == {"containers": 1, "mtu": 1300, "ip": 4, "outer_ip": 4}
    assert report["variants"]["a"]["cores"][str(WORKER_CORE)]["reader"] > 0
