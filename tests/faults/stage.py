"""One fault at one random moment: a controller's life under load, what is done to it, the verdict.

A controller is the command itself in a fork that has the programs compiled already. Three
containers stand behind the NIC; flow i goes to container i.
"""

import contextlib
import io
import logging
import os
import random
import re
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "lab"))
from attached import FORK, Shop, drain, journals_of, plan, snapshot, sockets_of
from fault import PATIENCE, Fault, Outcome, Scene

import bench.cli
from bench import lab as labs
from bench.losses import Losses, by_stage
from bench.reasons import Reasons
from bench.sinks import EVERYTHING, CountSink
from bench.traffic import Traffic
from bench.wire import Wire
from steering import bpf, control, preflight
from steering.closing import Closing
from steering.errors import OversprayError
from steering.rows import Rows
from steering.unit import Programs

QUEUE = 8192
"""Packets of a worker's queue, lest it overflow where the machine is busy."""
POLICIES = tuple(f"{name}:queue={QUEUE}" for name in ("backlog", "flowcell"))
DELIVERIES = ("peer", "veth")
RATE = 10_000
"""Packets a second over all flows: below what a busy machine takes."""
CORE = 1
"""The worker's."""
_SWAPPING = 0.25
"""Seconds of a life that are spent on swaps."""
_PAUSE = 0.004
_ROWS = 64
"""Of a table, that a life here can have used."""
_MAY_END_WITH = (1, 2, -signal.SIGKILL)
"""Exit codes of a controller that may end: refused, or killed for its memory."""
ON_ITS_WAY = 128 + 64
"""Packets that may be on their way when the controller is killed: in a worker's queue, which with
the delivery `veth` is of use no more (128 is how many `backlog` lets wait), and in the poll at hand
(64). Who counted them is gone."""


class Stage(Closing):
    """A lab, wire, sink and compiled programs for many moments. A context manager."""

    def __init__(self, folder: Path, name: str = "flt") -> None:
        self._folder = folder
        self._stack = contextlib.ExitStack()
        with contextlib.ExitStack() as stack:
            enter = stack.enter_context
            self.lab = enter(labs.held(labs.LabSpec("docker", name, containers=3)))
            self.loaded = replace(self.lab, endpoints=self.lab.endpoints[:2])
            """Those with sockets: the third may go with its namespace."""
            self.wire, self.sink = enter(Wire(self.lab)), enter(CountSink(self.loaded, 3))
            self.wire.configure(Traffic(), 1)  # compiled now, in silence
            self.reasons, self.losses = enter(Reasons()), enter(Losses(self.loaded))
            texts = (f"{each},deliver={way}" for way in DELIVERIES for each in POLICIES)
            plans = (plan(text, CORE) for text in texts)
            self.shop = enter(Shop(*plans))
            self._stack = stack.pop_all()
        self.lives: dict[str, float] = {}
        """Seconds of a controller's life without a fault, by delivery."""

    def close(self) -> None:
        """Take all of it down."""
        self._stack.close()

    def words(self, delivery: str) -> tuple[str, ...]:
        """How a controller is started."""
        place = ("attach", self.lab.nic, "--netns", self.lab.host_ns, "--cpus", str(CORE))
        return (*place, "--policy", POLICIES[0], "--deliver", delivery)

    def command(
        self, words: tuple[str, ...], inside: Callable[[], None], fresh: bool = False
    ) -> tuple[BaseProcess, int, Path]:
        """A fork that runs a command once it is told to: itself, the way to tell it, its words."""
        read, write = os.pipe()
        text = self._folder / f"{time.monotonic_ns()}.txt"

        def body() -> None:
            os.close(write)
            handle = os.open(text, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(handle, 1), os.dup2(handle, 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            logging.disable(logging.NOTSET)
            self.shop.open()
            if fresh:
                self.shop.programs = Programs()
            preflight.require_host = lambda: None  # type: ignore[assignment]  # it was looked at
            signal.signal(signal.SIGTERM, bench.cli._terminate)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            inside()
            code = 1
            os.read(read, 1)
            try:
                code = bench.cli.run(words)
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
            sys.exit(code)

        process = FORK.Process(target=body)
        process.start()
        os.close(read)
        return process, write, text

    def moment(self, fault: Fault, seed: int) -> Outcome:
        """The fault at one moment of a controller's life, drawn from the seed."""
        for delivery in set(DELIVERIES) - self.lives.keys():
            self.lives[delivery] = 0.0
            began = time.monotonic()
            outcome = self._moment(_Nothing(), random.Random(0), delivery)
            assert not outcome.problems, outcome.problems
            self.lives[delivery] = self._until - began
        chance = random.Random(seed)
        return self._moment(fault, chance, chance.choice(DELIVERIES))

    def _moment(self, fault: Fault, chance: random.Random, delivery: str) -> Outcome:
        found = snapshot(self.lab)
        self._forget()
        process, go, text = self.command(self.words(delivery), fault.inside, fault.fresh)
        scene = Scene(self, fault, chance, delivery, process, text)
        outcome = Outcome()
        fault.before(scene)
        names = self._names()
        try:
            with self._traffic(fault.flows):
                time.sleep(0.03)
                os.write(go, b"1")
                os.close(go)
                self._live(scene, outcome)
                end = time.monotonic_ns()
                self._until = time.monotonic()
        finally:
            if process.is_alive():
                process.kill()
            process.join()
            fault.after(scene)
        outcome.names = self._names() - names + self._dropped
        self._judge(scene, outcome, end)
        self._host(scene, outcome, found)
        _line(scene, outcome)
        text.unlink(missing_ok=True)
        return outcome

    def _forget(self) -> None:
        """Empty the tables that controllers here share, as each finds its own."""
        for unit in self.shop.programs._units.values():
            for rows in vars(unit).values():
                if isinstance(rows, Rows):
                    table = unit.module.fd(f"{rows._name}_rows")
                    for key in bpf.map_keys(table, bpf.map_info(table).key_size):
                        bpf.map_delete(table, key)
                    size = bpf.map_info(unit.module.fd(f"{rows._name}s")).value_size
                    for place in range(_ROWS):
                        unit.module.put(f"{rows._name}s", place, bytes(size))

    @contextlib.contextmanager
    def _traffic(self, flows: int) -> Iterator[None]:
        self.sink.configure(1, EVERYTHING)
        self.wire.configure(Traffic(rate=RATE, flows=flows), 1, (0,))
        self.wire.start()
        try:
            yield
        finally:
            self.wire.stop()
            drain(self.wire, self.sink)

    def _live(self, scene: Scene, outcome: Outcome) -> None:
        """A life: attach, swaps, detach; the fault somewhere in it."""
        fault, began = scene.fault, time.monotonic()
        self._dropped: Counter[str] = Counter()
        over = threading.Event()
        swaps = threading.Thread(target=self._swap, args=(scene, over))
        swaps.start()
        try:
            if fault.attached:
                reached = lambda: bool(scene.status()) or not scene.process.is_alive()  # noqa: E731
                if not scene.until(reached):
                    outcome.problems.append("was not attached")
                began = time.monotonic()
                moment = scene.chance.uniform(0, _SWAPPING)
            else:
                moment = scene.chance.uniform(0, self.lives.get(scene.delivery, 0.0))
            time.sleep(max(0.0, began + moment - time.monotonic()))
            scene.acted = time.monotonic_ns()
            fault.act(scene)
            scene.undone = time.monotonic_ns()
            self._end(scene, outcome)
        finally:
            over.set()
            swaps.join()
        time.sleep(0.05)

    def _end(self, scene: Scene, outcome: Outcome) -> None:
        fault, process = scene.fault, scene.process
        if fault.ends:
            process.join(PATIENCE)
            return
        if process.is_alive() or not fault.ends:
            alive = scene.until(lambda: scene.serves_all() or not process.is_alive())
            outcome.followed = (time.monotonic_ns() - scene.undone) / 1e6
            facts = scene.status()
            self._dropped = Counter(facts.get("dropped", {}))
            if not alive or (fault.ends is False and not facts):
                outcome.problems.append("does not serve all containers again")
        time.sleep(0.03)
        with contextlib.suppress(OversprayError):
            control.ask(control.Address.of(self.lab.host_ns, self.lab.nic), {"do": "detach"}, 30)
        process.join(PATIENCE)
        if process.exitcode and (fault.ends is False or process.exitcode not in _MAY_END_WITH):
            outcome.problems.append(f"ended with exit code {process.exitcode}")

    def _swap(self, scene: Scene, over: threading.Event) -> None:
        """Swap for as long as it is there; an end at the end of its life belongs to it."""
        address = control.Address.of(self.lab.host_ns, self.lab.nic)
        number, since = 0, 0.0
        while not over.wait(_PAUSE):
            request = {"do": "swap", "policy": POLICIES[(number := number + 1) % 2]}
            if since and scene.fault.ends and time.monotonic() > since + _SWAPPING:
                request = {"do": "detach"}
            with contextlib.suppress(OversprayError, ValueError):
                control.ask(address, request, 30)
                since = since or time.monotonic()

    def _names(self) -> Counter[str]:
        found = Counter(self.reasons.read())
        for stage, drops in by_stage({}, self.losses.read()).items():
            if stage in ("nic", "veth"):
                found.update({f"{stage}.{name}": count for name, count in drops.items()})
        return found

    def _judge(self, scene: Scene, outcome: Outcome, end: int) -> None:
        """Who was silent for how long, what was lost."""
        fault, arrivals = scene.fault, self.sink.arrivals()
        outcome.problems += scene.problems
        if len(np.unique(arrivals[["flow", "sequence"]])) != len(arrivals):
            outcome.problems.append("packets came twice")
        outcome.sent = self.wire.offered().sent
        for flow in range(min(fault.flows, len(self.loaded.endpoints))):
            times = arrivals["time"][arrivals["flow"] == flow].astype(np.int64)
            sent = (outcome.sent - flow + fault.flows - 1) // fault.flows
            start = scene.undone if flow in fault.interrupted else scene.acted
            heard = np.concatenate([[start], times[(times > start) & (times < end)], [end]])
            outcome.silence = max(outcome.silence, float(np.diff(heard).max()) / 1e6)
            if flow in fault.interrupted:
                outcome.interrupted += sent - len(times)
            else:
                outcome.lost += sent - len(times)
        outcome.missed = min(outcome.lost, outcome.names["nic.ring_full"])
        if outcome.lost - outcome.missed > fault.allowed:
            outcome.problems.append(f"lost {outcome.lost} packets")
        unnamed = outcome.lost + outcome.interrupted - sum(outcome.names.values())
        if unnamed > fault.allowed:
            outcome.problems.append(f"{unnamed} of the lost have no name")

    def _host(self, scene: Scene, outcome: Outcome, found: dict[str, Any]) -> None:
        """As it was, after the next command."""
        words = io.StringIO()
        with contextlib.redirect_stdout(words):
            bench.cli.run(("status",))
        scene.said.append(words.getvalue())
        if not scene.until(lambda: snapshot(self.lab) == found, 5):
            now = snapshot(self.lab)
            odd = [key for key in found.keys() | now.keys() if found.get(key) != now.get(key)]
            outcome.problems.append(f"the host is not as it was: {', '.join(sorted(odd)[:5])}")
        if journals_of(scene.process.pid or 0) or sockets_of(self.lab):
            outcome.problems.append("a journal or a socket is left")


class _Nothing(Fault):
    """A life without a fault, to see how long it is."""

    name, done, ends, attached = "nothing", "nothing", True, False

    def act(self, scene: Scene) -> None:
        scene.process.join(PATIENCE)


def _line(scene: Scene, outcome: Outcome) -> None:
    """Find the line that tells about it."""
    spoken = "\n".join([scene.words(), *scene.said]).splitlines()
    text = "\n".join(each for each in spoken if each and not each.startswith("policy: "))
    if "Traceback" in text:
        outcome.problems.append("a traceback: " + text[-1500:])
    if not scene.fault.says:
        return
    lines = [line for line in text.splitlines() if re.search(scene.fault.says, line)]
    if lines:
        outcome.line = lines[0].strip()
    else:
        outcome.problems.append("no line about it; said was: " + text[-800:].strip())
