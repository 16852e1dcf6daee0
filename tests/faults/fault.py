"""What a fault is, the moment at which it is done, and what came of it."""

import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.lab_plan import Lab
from steering import control
from steering.errors import OversprayError

if TYPE_CHECKING:
    from stage import Stage

PATIENCE = 20.0


class Fault:
    """What is done, and what is wanted then; see the table. Undone when :meth:`act` returns."""

    name: str
    done: str
    """What is done, for the table."""
    says = ""
    """A pattern of the line that tells about it; none: nothing is to be told."""
    attached = True
    """Done to an attached controller; else at any moment from its start to its end."""
    ends: bool | None = False
    """Whether it is the controller's end; None: it may be."""
    allowed = 0
    """Packets of the flows that go on which may be lost."""
    flows = 2
    interrupted: frozenset[int] = frozenset()
    """Flows that stock, too, does not deliver until it is undone."""
    served = 3
    """Containers on the fast path at its end."""
    fresh = False
    """Each controller compiles its own programs."""

    def why_not(self) -> str:
        """Why this host cannot."""
        return ""

    def inside(self) -> None:
        """Done in the controller's process before its command runs."""

    def before(self, scene: "Scene") -> None:
        """Done before the controller starts."""

    def act(self, scene: "Scene") -> None:
        """Do it, and undo it."""
        raise NotImplementedError

    def after(self, scene: "Scene") -> None:
        """Put away what :meth:`before` made."""


@dataclass
class Outcome:
    """What came of it. Times in ms; ``problems`` none: as wanted."""

    silence: float = 0.0
    """The longest that a flow which goes on was not heard of."""
    followed: float = 0.0
    """Until all containers were served again."""
    sent: int = 0
    lost: int = 0
    """Of the flows that go on."""
    missed: int = 0
    """Of these, in the NIC's own ring, which was not polled in time: no program has seen them."""
    interrupted: int = 0
    """Lost of the others, as stock loses them."""
    names: Counter[str] = field(default_factory=Counter)
    """Drops as the kernel and the controller name them."""
    line: str = ""
    problems: list[str] = field(default_factory=list)


@dataclass
class Scene:
    """A moment: what a fault has to do with."""

    stage: "Stage"
    fault: Fault
    chance: random.Random
    delivery: str
    process: BaseProcess
    text: Path
    """Where the controller writes."""
    said: list[str] = field(default_factory=list)
    """What others than the controller said."""
    problems: list[str] = field(default_factory=list)
    """What a fault itself finds wrong."""
    acted: int = 0
    undone: int = 0

    @property
    def lab(self) -> Lab:
        """The whole lab."""
        return self.stage.lab

    def words(self) -> str:
        """What the controller has said so far."""
        return self.text.read_text() if self.text.exists() else ""

    def hold(self, seconds: float = 0.3) -> None:
        """Leave it so for a while."""
        time.sleep(self.chance.uniform(0.03, seconds))

    def status(self) -> dict[str, Any]:
        """What the controller says; empty where there is none, or not yet."""
        with contextlib.suppress(OversprayError):
            facts = control.ask(
                control.Address.of(self.lab.host_ns, self.lab.nic), {"do": "status"}
            )
            return facts if facts["attached"] else {}
        return {}

    def serves_all(self) -> bool:
        """Whether all containers that fit are on the fast path."""
        facts = self.status()
        served = len(facts.get("endpoints", ()))
        return served == self.fault.served and bool(facts["tunnels"])

    def kill(self, number: signal.Signals) -> None:
        """A signal for the controller."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid or 0, number)

    def until(self, condition: Callable[[], bool], seconds: float = PATIENCE) -> bool:
        """Wait for it; whether it came."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                return False
            time.sleep(0.005)
        return True
