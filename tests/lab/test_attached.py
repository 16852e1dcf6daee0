"""What runs already: asked, swapped, set and ended from another process; and put right when it is killed."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from attaching import attached, host_links, macs
from commands import ROOT, Done, command, here
from ground import NIC_CORE, WORKER_CORE

from bench.lab import Lab
from bench.seen import passing
from bench.sink import Sink
from bench.traffic import Traffic
from bench.wire import Wire
from steering import control, netns, top
from steering.attached import FOLDER
from steering.control import Server
from steering.controller import MOST_WATCHING
from steering.errors import BadInput, OversprayError
from steering.owner import start_of
from steering.settings import Attribute, Feature, RpsMask
from steering.waiting import wait_for

N = 640
OVERSPRAY = str(Path(sys.executable).with_name("overspray"))


def typed(lab: Lab, *arguments: str) -> Done:
    """The command, in the lab's host namespace."""
    with netns.entered(lab.host_ns):
        return here(*arguments)


def answered(lab: Lab, *arguments: str) -> Any:
    """What it prints as JSON."""
    done = typed(lab, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def nothing_is_attached(lab: Lab) -> bool:
    """To the lab's NIC; others may have theirs."""
    done = typed(lab, "status", "nic0")
    return done.returncode == 2 and "nothing is attached" in done.stderr


def locks(pid: int) -> list[str]:
    """Lock files in which that process stands."""
    return [path.name for path in FOLDER.glob("*") if f'"pid": {pid},' in path.read_text()]


@contextmanager
def kept(lab: Lab, *arguments: str) -> Iterator[list[str]]:
    """The command's lines on stdout and stderr; what it leaves in the background ends with the block."""
    line = [sys.executable, str(ROOT / "tests/keeper.py"), OVERSPRAY, *arguments]
    with netns.entered(lab.host_ns):
        keeper = subprocess.Popen(
            line,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    assert keeper.stdout is not None
    said: list[str] = []
    try:
        for text in keeper.stdout:
            said.append(text.strip())
            if text.startswith("exit "):
                break
        yield said
    finally:
        keeper.communicate(timeout=60)


@pytest.mark.parametrize("overlay", ["docker"], indirect=True)
def test_detached_it_outlives_its_terminal_and_ends_when_told(overlay: Lab) -> None:
    before = host_links(overlay)
    policy = f"roundrobin:mask={1 << WORKER_CORE:x}"
    with kept(overlay, "attach", "nic0", "--policy", policy, "--detached") as said:
        assert said[-1] == "exit 0" and said[0].startswith(f"attached {policy} to 'nic0'")
        [status] = answered(overlay, "status", "nic0")
        with Sink(overlay) as sink, Wire(overlay, Traffic(flows=2), NIC_CORE) as wire:
            wire.send_windowed(N, lambda: sink.delivered)
            counted = answered(overlay, "detach")
            assert (sink.delivered, counted["delivered"], counted["passed"]) == (N, N, 0)
        assert counted["done"] == {str(WORKER_CORE): N // 2}
        assert locks(status["pid"]) == [] and host_links(overlay) == before
        wait_for(lambda: start_of(status["pid"]) is None, "its process to end")
        assert nothing_is_attached(overlay)


def test_what_can_not_be_attached_detached_is_told_by_who_was_asked(flannel: Lab) -> None:
    with kept(flannel, "attach", "vxlan0", "--detached") as said:
        assert said[-1] == "exit 2" and "'vxlan0' is a VXLAN device, not a NIC" in said[0]


def test_each_core_is_shown_with_what_it_had(flannel: Lab) -> None:
    with (
        attached(flannel) as running,
        Sink(flannel) as sink,
        Wire(flannel, Traffic(flows=2), NIC_CORE) as wire,
    ):
        running.await_serving(*macs(flannel))
        wire.send_windowed(N, lambda: sink.delivered)
        [status] = answered(flannel, "status", "nic0")
        assert (status["device"], status["pid"]) == ("nic0", running.process.pid)
        assert (status["counted"]["delivered"], status["counted"]["drops"]) == (N, {})
        assert [overlay["vni"] for overlay in status["serving"]] == [flannel.plan.vni]
        rows = {row["core"]: (row["slot"], row["packets"], row["waiting"]) for row in status["cores"]}
        assert rows == {NIC_CORE: (0, N // 2, 0), WORKER_CORE: (1, N // 2, 0)}
        text = typed(flannel, "status", "nic0").stdout
        assert f"{N} frames: {N} delivered, 0 took the stock path" in text
        assert running.counted()["delivered"] == N


def test_a_policy_of_ones_own_is_shown_with_what_it_counts(flannel: Lab, tmp_path: Path) -> None:
    assert typed(flannel, "policy", "new", "mine", "--in", str(tmp_path)).returncode == 0
    with (
        attached(flannel, "--policy", f"@{tmp_path}/mine:mask={1 << WORKER_CORE:x}") as running,
        Sink(flannel) as sink,
        Wire(flannel, Traffic(flows=1), NIC_CORE) as wire,
    ):
        running.await_serving(*macs(flannel))
        [before] = answered(flannel, "status", "nic0")
        wire.send_windowed(N, lambda: sink.delivered)
        [now] = answered(flannel, "status", "nic0")
        assert list(now["policy_counts"]["cells"]) == [str(NIC_CORE)]
        found = top.between(before, now, 2.0)
        assert (found["seen"], found["delivered"], found["passed"]) == (N / 2, N / 2, 0)
        assert sum(row["packets"] for row in found["cores"]) == N / 2
        assert found["policy_counts"]["cells"] == now["policy_counts"]["cells"][str(NIC_CORE)] / 2 > 0
        [look] = answered(flannel, "top", "nic0", "--interval", "0.1", "--count", "1")
        assert (look["delivered"], look["drops"]) == (0, {})
        shown = typed(flannel, "top", "nic0", "--interval", "0.1", "--count", "1").stdout
        assert "packets/s" in shown and "the policy counts: cells 0/s" in shown


@contextmanager
def watched(lab: Lab) -> Iterator[Iterator[Any]]:
    """What `overspray top` has of each core, look by look; it is killed."""
    line = command("top", lab.plan.nic, "--interval", "0.1", "--json")
    with netns.entered(lab.host_ns):
        watcher = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    assert watcher.stdout is not None
    with watcher:
        try:
            yield (json.loads(text)[0]["cores"] for text in watcher.stdout)
        finally:
            watcher.kill()


def test_order_is_watched_while_somebody_looks_and_no_longer(flannel: Lab) -> None:
    def now() -> tuple[int, dict[int, tuple[int, int]]]:
        [status] = answered(flannel, "status", "nic0")
        order = {row["core"]: (row["numbered"], row["reordered"]) for row in status["cores"]}
        return status["watching"], {core: counted for core, counted in order.items() if counted[0]}

    mask = f"mask={1 << WORKER_CORE:x}"
    with (
        attached(flannel, "--policy", f"pin:{mask}") as running,
        Sink(flannel) as sink,
        Wire(flannel, Traffic(flows=2), NIC_CORE) as wire,
    ):
        running.await_serving(*macs(flannel))
        wire.send_windowed(N, lambda: sink.delivered)
        assert now() == (0, {})
        with watched(flannel) as looks:
            assert {row["reordered"] for row in next(looks)} == {None}
            wire.send_windowed(N, lambda: sink.delivered)
            assert now() == (1, {WORKER_CORE: (N, 0)})
            assert 0.0 in (row["reordered"] for look in looks for row in look if row["core"] == WORKER_CORE)
            answered(flannel, "swap", "local", "--on", "nic0")
            wire.send_windowed(N, lambda: sink.delivered)
            assert now() == (1, {WORKER_CORE: (N, 0), NIC_CORE: (N, 0)})
        wait_for(lambda: now()[0] == 0, "the controller to notice that nobody looks any more")
        wire.send_windowed(N, lambda: sink.delivered)
        assert now() == (0, {WORKER_CORE: (N, 0), NIC_CORE: (N, 0)})
        told = f"order: of {2 * N} packets watched, 0 came behind a later one of their flow"
        assert told in typed(flannel, "status", "nic0").stdout


def test_policies_and_knobs_are_changed_while_packets_flow(flannel: Lab) -> None:
    with (
        attached(flannel) as running,
        Sink(flannel) as sink,
        Wire(flannel, Traffic(flows=2), NIC_CORE) as wire,
    ):
        running.await_serving(*macs(flannel))
        wire.send_windowed(N, lambda: sink.delivered)
        assert answered(flannel, "swap", "flowcell:cell=1,local=0", "--on", "nic0")["before"].startswith(
            "roundrobin"
        )
        wire.send_windowed(N, lambda: sink.delivered)
        assert sink.by_core() == {NIC_CORE: N // 2, WORKER_CORE: N // 2 + N}
        done = answered(flannel, "set", "local=100", "--on", "nic0")
        assert done["policy"] == f"flowcell:cell=1,local=100,mask={1 << WORKER_CORE:x}"
        wire.send_windowed(N, lambda: sink.delivered)
        stack = f"stack={1 << NIC_CORE:x}"
        answered(flannel, "swap", f"stage:{stack}", "--on", "nic0")
        wire.send_windowed(N, lambda: sink.delivered)
        assert sink.by_core() == {NIC_CORE: N // 2 + 2 * N, WORKER_CORE: N // 2 + N}
        shown = typed(flannel, "status", "nic0").stdout
        assert f"workers on cores {WORKER_CORE}, after GRO {NIC_CORE}, process" in shown
        counted = answered(flannel, "detach", "nic0")
        assert (sink.delivered, counted["delivered"], counted["passed"]) == (4 * N, 4 * N, 0)
        assert counted["done"] == {str(WORKER_CORE): N // 2 + 2 * N}
        assert counted["local"] == {str(NIC_CORE): N // 2 + N}
        assert running.process.wait(timeout=60) == 0


BAD = {
    ("swap", "best", "--on", "nic0"): "unknown policy 'best': choose from adaptive, backlog",
    ("swap", "@nowhere", "--on", "nic0"): "no policy in '",
    (
        "swap",
        "local:deliver=veth",
        "--on",
        "nic0",
    ): "a swap keeps the delivery (peer): detach, and attach again",
    ("set", "cell=1", "--on", "nic0"): "unknown knob of policy 'roundrobin' 'cell': choose from",
    ("set", "local=2", "--on", "nic0"): "local=2 is out of range: choose from 0 to 1",
    ("set", "local"): "'local' is not KNOB=VALUE",
    ("detach", "nic7"): "nothing is attached to 'nic7': choose from 'nic0'",
    ("status", "nic7"): "nothing is attached to 'nic7': choose from 'nic0'",
}


def test_bad_input_is_one_line_and_leaves_what_is_attached(flannel: Lab) -> None:
    with attached(flannel) as running:
        running.await_serving(*macs(flannel))
        before = answered(flannel, "status", "nic0")
        for arguments, told in BAD.items():
            done = typed(flannel, *arguments)
            assert (done.returncode, done.stdout) == (2, ""), arguments
            assert told in done.stderr and done.stderr.count("\n") == 1
        assert answered(flannel, "status", "nic0") == before


NONSENSE: list[dict[str, Any]] = [
    {"ask": "swap", "policy": "@/tmp/\0"},
    {"ask": "swap", "policy": f"@/tmp/{'x' * 300}"},
    {"ask": "set", "knobs": {"queue": 5}},
]


def test_who_asks_nonsense_or_too_much_ends_nothing(flannel: Lab) -> None:
    with attached(flannel) as running, ExitStack() as watching:
        running.await_serving(*macs(flannel))
        pid = running.process.pid
        for words in NONSENSE:
            with pytest.raises(BadInput, match="can't do what is asked"):
                control.ask(pid, words)
        for _ in range(MOST_WATCHING):
            watching.enter_context(control.asking(pid, {"ask": "watch"}))
        with pytest.raises(OversprayError, match="64 watch already: end an 'overspray top'"):
            control.ask(pid, {"ask": "watch"})
        assert answered(flannel, "status", "nic0")[0]["watching"] == MOST_WATCHING
        [look] = answered(flannel, "top", "nic0", "--interval", "0.1", "--count", "1")
        assert look["device"] == "nic0"
        watching.close()
        wait_for(
            lambda: answered(flannel, "status", "nic0")[0]["watching"] == 0,
            "all that watched to be forgotten",
        )


def test_where_nothing_is_attached_it_says_so(flannel: Lab) -> None:
    assert nothing_is_attached(flannel)
    done = typed(flannel, "detach", "nic0")
    assert done.returncode == 2 and "nothing is attached" in done.stderr


def nic_settings(lab: Lab) -> list[str]:
    with netns.entered(lab.host_ns):
        return [each.read() for each in SETTINGS]


SETTINGS = (
    Feature("nic0", "rx-gro"),
    Feature("nic0", "rx-gro-list"),
    Attribute("nic0", "gro_flush_timeout"),
    RpsMask("nic0"),
)
STACK, OTHER = f"{1 << NIC_CORE:x}", f"{1 << NIC_CORE | 1 << WORKER_CORE:x}"


def test_coalescing_and_rps_are_the_nics_and_are_put_back_as_they_were_found(flannel: Lab) -> None:
    with netns.entered(flannel.host_ns):
        SETTINGS[2].write("12345")
        SETTINGS[3].write(f"{1 << WORKER_CORE:x}")
    before = nic_settings(flannel)
    with attached(flannel, "--policy", "local+gro-list+defer:usecs=50") as running:
        running.await_serving(*macs(flannel))
        assert nic_settings(flannel) == ["on", "on", "50000", before[3]]
        assert answered(flannel, "swap", "local+gro", "--on", "nic0")["policy"] == "local+gro"
        assert nic_settings(flannel) == ["on", *before[1:]]
        for mask in (STACK, OTHER):
            answered(flannel, "set", f"stack={mask}", "--on", "nic0")
            assert nic_settings(flannel) == ["on", *before[1:3], mask]
        [status] = answered(flannel, "status", "nic0")
        assert status["stack"] == [NIC_CORE, WORKER_CORE]
        done = typed(flannel, "swap", "local+slow", "--on", "nic0")
        assert done.returncode == 2 and "unknown coalescing 'slow'" in done.stderr
        answered(flannel, "swap", "pin", "--on", "nic0")
        assert nic_settings(flannel) == before
        answered(flannel, "swap", f"local:stack={STACK}+gro-list+defer:usecs=50", "--on", "nic0")
        assert nic_settings(flannel) == ["on", "on", "50000", STACK]
        guardian = running.guardian
        running.end(signal.SIGKILL)
    wait_for(lambda: start_of(guardian) is None, "the guardian to be done")
    assert nic_settings(flannel) == before


def test_killed_its_guardian_puts_the_host_right(overlay: Lab) -> None:
    before = host_links(overlay)
    with attached(overlay) as running:
        running.await_serving(*macs(overlay))
        pid = running.process.pid
        guardian = running.guardian
        running.end(signal.SIGKILL)
    wait_for(lambda: start_of(guardian) is None, "the guardian to be done")
    assert host_links(overlay) == before and locks(pid) == []
    assert not (control.FOLDER / str(pid)).exists()
    with passing(overlay), Sink(overlay) as sink, Wire(overlay, Traffic(flows=2), NIC_CORE) as wire:
        wire.send_windowed(N, lambda: sink.delivered)


@pytest.mark.parametrize("overlay", ["docker"], indirect=True)
def test_where_the_guardian_is_killed_too_the_next_command_does(overlay: Lab) -> None:
    before = host_links(overlay)
    with attached(overlay) as running:
        running.await_serving(*macs(overlay))
        pid = running.process.pid
        os.kill(running.guardian, signal.SIGKILL)
        running.end(signal.SIGKILL)
    assert locks(pid) != []
    assert nothing_is_attached(overlay)
    assert host_links(overlay) == before and locks(pid) == []


def test_who_says_nothing_or_nonsense_is_hung_up_on() -> None:
    with Server() as server:
        for words in (b"", b"\xff", b"[1]", b"[" * 50_000):
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as one:
                one.connect(str(control.FOLDER / str(os.getpid())))
                if words:
                    one.send(words)
                else:
                    one.close()
                assert server.take() is None
    with pytest.raises(OversprayError, match=f"process {os.getpid()} takes no orders"):
        control.ask(os.getpid(), {"ask": "status"})
