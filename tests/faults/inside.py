"""Faults of the controller and of what it needs: signals, memory, room, a second one."""

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attached import sockets_of
from fault import PATIENCE, Fault, Scene
from outside import set_link, told
from stage import ON_ITS_WAY

from bench import twin_runner
from bench.results import Results
from bench.sample import Sample
from steering import control
from steering.errors import BadInput, OversprayError
from steering.layout import header

_MEMORY = Path("/sys/fs/cgroup/memory")
_UNIFIED = Path("/sys/fs/cgroup")
_MIB = 1 << 20
_numbers = itertools.count()


def told_of_the_dead(scene: Scene) -> str:
    """What the next command is to say: of one that had begun that it was killed, else nothing."""
    killed = "its controller was killed; what it had changed is put back"
    return killed if sockets_of(scene.lab) else "nothing is attached"


class Signalled(Fault):
    """Ended by a signal, at any moment between its start and its end."""

    attached, ends = False, True

    def __init__(self, number: signal.Signals) -> None:
        self.number = number
        self.name = number.name.removeprefix("SIG")
        self.done = f"the controller ended by {self.name}, at any moment of its life"
        ended = rf"(detached|ended before it was attached): ({number.name}|asked to)"
        self.says = rf"{ended}|overspray: (interrupted|ended by SIGTERM)"

    def act(self, scene: Scene) -> None:
        scene.kill(self.number)


class Killed(Signalled):
    """By SIGKILL: who is dead says nothing, the next command does."""

    allowed = ON_ITS_WAY

    def __init__(self) -> None:
        super().__init__(signal.SIGKILL)

    def act(self, scene: Scene) -> None:
        super().act(scene)
        scene.process.join(PATIENCE)
        self.says = told_of_the_dead(scene)


class TwoControllers(Fault):
    name = "two"
    done = "a second controller for the same NIC, at any moment"
    says = r"is attached already"
    attached = False
    ends = None

    def before(self, scene: Scene) -> None:
        words = scene.stage.words(scene.delivery)
        self._second = scene.stage.command(words, lambda: None)

    def act(self, scene: Scene) -> None:
        process, go, text = self._second
        os.write(go, b"1")
        os.close(go)
        # Where it comes first or last, it is the one.
        scene.until(lambda: not process.is_alive() or not scene.process.is_alive())
        scene.hold(0.1)
        if process.is_alive():
            with contextlib.suppress(OversprayError):
                address = control.Address.of(scene.lab.host_ns, scene.lab.nic)
                control.ask(address, {"do": "detach"}, 30)
        scene.until(lambda: not process.is_alive())
        scene.said.append(text.read_text())

    def after(self, scene: Scene) -> None:
        process, _, text = self._second
        if process.is_alive():
            process.kill()
        process.join()
        text.unlink(missing_ok=True)


class MapsFull(Fault):
    name = "maps"
    done = "one container more comes than the tables hold"
    says = r"not served, stock path: 02:05:03:00:00:03 .*more than 2 containers"
    served = 2

    def inside(self) -> None:
        header("maps.h").constants["MAX_ENDPOINTS"] = 3  # of which the first stays empty

    def before(self, scene: Scene) -> None:
        end = scene.lab.endpoints[2]
        set_link(end.host_netns, end.host_device, state="down")

    def act(self, scene: Scene) -> None:
        self.after(scene)
        told(scene, self.says)

    def after(self, scene: Scene) -> None:
        end = scene.lab.endpoints[2]
        set_link(end.host_netns, end.host_device, state="up")


class MemoryShort(Fault):
    name = "memory"
    done = "a memory cgroup's limit reached, in attaching or while a policy is compiled"
    attached = False
    ends = None
    allowed = ON_ITS_WAY

    def why_not(self) -> str:
        with _group() as group:
            return "" if group else "limit a process's memory (no memory cgroup)"

    def before(self, scene: Scene) -> None:
        self._stack = contextlib.ExitStack()
        group = self._stack.enter_context(_group())
        assert group is not None
        _limit(group, scene.chance.randrange(2 * _MIB, 100 * _MIB))
        (group / "cgroup.procs").write_text(str(scene.process.pid))

    def act(self, scene: Scene) -> None:
        scene.until(lambda: bool(scene.status()) or not scene.process.is_alive())
        self.says = ""  # it had enough
        try:
            request = {"do": "swap", "policy": "roundrobin"}  # not compiled yet
            control.ask(control.Address.of(scene.lab.host_ns, scene.lab.nic), request, 60)
        except OversprayError as error:
            scene.said.append(str(error))
            self.says = r"[Mm]emory"
        if scene.until(lambda: not scene.process.is_alive(), 0.2):
            killed = scene.process.exitcode == -signal.SIGKILL
            self.says = told_of_the_dead(scene) if killed else r"[Mm]emory"

    def after(self, scene: Scene) -> None:
        self._stack.close()


@contextlib.contextmanager
def _group() -> Iterator[Path | None]:
    """A memory cgroup of our own, of either version; None where there is none to have."""
    root = _MEMORY if _MEMORY.is_dir() else _UNIFIED
    made = root / f"overspray-fault-{os.getpid()}-{next(_numbers)}"
    try:
        made.mkdir()
    except OSError:
        yield None
        return
    try:
        usable = any((made / name).exists() for name in ("memory.max", "memory.limit_in_bytes"))
        yield made if usable else None
    finally:
        for pid in (made / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):
                (root / "cgroup.procs").write_text(pid)
        made.rmdir()


def _limit(group: Path, amount: int) -> None:
    new = group / "memory.max"
    (new if new.exists() else group / "memory.limit_in_bytes").write_text(str(amount))
    if (swap := group / "memory.swap.max").exists():
        swap.write_text("0")


EXPERIMENT = """\
name = "fault"
title = "Results written until there is no room"
question = "Can they be read?"
description = "A small one."
baselines = ["none"]
plots = []
rounds = 100
seconds = 0.002
warmup = 0.001

[matrix]
rate = ["max"]

[[groups]]
cases = ["docker"]
variants = ["none", "local"]
"""


def _simulate_nothing() -> None:
    """Runs whose results are made up, and only that: all files are written as ever."""

    def made_up(_runner: Any, point: Any, variant: Any, rate: Any, seed: int, place: Any) -> Sample:
        where = {"point": point.id, "round": place.round, "position": place.position}
        counts = {"offered": 1000, "delivered": 900, "delivered_bytes": 900 * 18}
        fields = {**where, **counts, "variant": str(variant), "seed": seed, "started": 1.7e9}
        return Sample(source="twin", seconds=1.0, wire_share=0.2, **fields)

    twin_runner.TwinRunner._run = made_up  # type: ignore[assignment,method-assign]


class DiskFull(Fault):
    name = "disk"
    done = "the disk full while `overspray bench` writes results"
    says = r"No space left on device"

    def why_not(self) -> str:
        return "" if os.geteuid() == 0 else "mount a small disk"

    def before(self, scene: Scene) -> None:
        self._disk = Path(tempfile.mkdtemp(prefix="overspray-fault-"))
        experiment = self._disk / "fault.toml"
        experiment.write_text(EXPERIMENT)
        size = 4096 * scene.chance.randrange(2, 18)
        small = self._disk / "small"
        small.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", small], check=True)
        words = ("bench", str(experiment), "--twin", "--out", str(small))
        self._bench = scene.stage.command(words, _simulate_nothing)

    def act(self, scene: Scene) -> None:
        process, go, text = self._bench
        os.write(go, b"1")
        os.close(go)
        process.join(60)
        words = text.read_text()
        scene.said.append(words.replace(str(self._disk), "DIR"))
        last = words.strip().splitlines()[-1:]
        if process.exitcode not in (1, 2) or not last or not last[0].startswith("overspray: "):
            scene.problems.append(f"bench: exit code {process.exitcode}, {words[-500:]}")
        for path in (self._disk / "small").iterdir():
            with contextlib.suppress(BadInput):  # it was not begun
                results = Results.open(path)
                results.samples(), results.fingerprints("before")

    def after(self, scene: Scene) -> None:
        process, _, text = self._bench
        if process.is_alive():
            process.kill()
        process.join()
        text.unlink(missing_ok=True)
        subprocess.run(["umount", self._disk / "small"], check=True)
        shutil.rmtree(self._disk)
