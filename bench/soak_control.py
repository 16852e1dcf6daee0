"""The controller under a soak, and what it and the kernel say of drops."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Set
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.losses import Losses
from bench.reasons import Reasons
from steering import control
from steering.closing import Closing
from steering.errors import OversprayError
from steering.plan import read_plan
from steering.spec import Spec

HOT = ("backlog", "adaptive", "twochoice", "apart")
"""Policies that stay compiled. All heed a worker's backlog: what drowns by design is no soak."""
RARE = ("stream",)
"""Policies that are compiled anew each time, for others were used since."""
_ROOM = "queue=16384,nice=0"
"""For what waits while a worker does: the wire and all that happens share the workers' cores."""
_FOLLOWED = 30.0
"""Seconds in which the controller has to have followed what came."""
YIELD = 10
"""Niceness of all that happens, beside the workers and the wire: these are what is watched."""
_MAIN = "from bench.cli import main; main()"


class Drops:
    """What the kernel says of drops in a round: the NIC's ring, and, of the whole host, why."""

    def __init__(self, losses: Losses, reasons: Reasons) -> None:
        self._losses, self._reasons = losses, reasons
        self.begin()

    def begin(self) -> None:
        """Count from now on."""
        self._ring, self._named = self._losses.read()["nic.ring_full"], self._reasons.read()

    def ring(self) -> int:
        """Frames that the NIC did not take, for it was not polled in time."""
        return self._losses.read()["nic.ring_full"] - self._ring

    def by_reason(self) -> Counter[str]:
        """Packets that were dropped behind it, anybody's."""
        return self._reasons.read() - self._named


class Controller(Closing):
    """An attached controller in a process of its own. A context manager."""

    def __init__(self, ns: str, nic: str, deliver: str) -> None:
        cores = sorted(os.sched_getaffinity(0) - {0}) or [0]
        words = ("attach", nic, "--netns", ns, "--cpus", ",".join(map(str, cores)), "--detached")
        policy = ("--policy", f"{HOT[0]}:{_ROOM}", "--deliver", deliver, "--json")
        read_plan(Spec(HOT[0], {"deliver": deliver}), cores)  # says what is wrong
        done = subprocess.run(
            ["nice", f"-n{YIELD}", sys.executable, "-c", _MAIN, *words, *policy],
            cwd=Path(__file__).parents[1],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise OversprayError(f"soak: {done.stderr.strip().removeprefix('overspray: ')}")
        self.pid = int(json.loads(done.stdout)["pid"])
        self.policy = HOT[0]
        self._address = control.Address.of(ns, nic)

    def close(self) -> None:
        """Detach."""
        with suppress(OversprayError):
            control.ask(self._address, {"do": "detach"}, 60)

    def swap(self, name: str) -> None:
        """Put a policy in place."""
        request = {"do": "swap", "policy": f"{name}:{_ROOM}"}
        control.ask(self._address, request, None)
        self.policy = name

    def set(self, knob: str, value: int) -> None:
        """Change a knob of it."""
        control.ask(self._address, {"do": "set", "knobs": {knob: value}}, None)

    def await_served(self, macs: Set[str]) -> None:
        """Wait until just these containers are on the fast path.

        Raises:
            OversprayError: that does not come.
        """
        end = time.monotonic() + _FOLLOWED
        while {end["mac"] for end in self._status()["endpoints"]} != macs:
            if time.monotonic() > end:
                raise OversprayError(f"soak: the controller does not serve {len(macs)} containers")
            time.sleep(0.01)

    def counts(self) -> dict[str, Any]:
        """Frames it has seen, those left to the stock path, drops by name."""
        facts = self._status()
        return {
            "seen": facts["counters"]["steer"]["seen"]["count"],
            "passed": sum(facts["passed"].values()),
            "dropped": facts["dropped"],
        }

    def _status(self) -> dict[str, Any]:
        return dict(control.ask(self._address, {"do": "status"}, 60))
