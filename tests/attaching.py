"""``overspray attach`` as a process that tests start, listen to, and end."""

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from commands import command
from ground import WORKER_CORE
from pyroute2 import IPRoute

from bench.lab import Lab
from steering import netns

POLICY = f"roundrobin:mask={1 << WORKER_CORE:x}"


class Attached:
    """A controller that runs, in the lab's host namespace; ``before`` it stands what it is run by."""

    def __init__(self, lab: Lab, *more: str, before: tuple[str, ...] = ()) -> None:
        line = [*before, *command("attach", lab.plan.nic, "--policy", POLICY, "--json", *more)]
        pipe = subprocess.PIPE
        with netns.entered(lab.host_ns):
            self.process = subprocess.Popen(
                line, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
            )
        self.said: list[str] = []

    def await_serving(self, *macs: str, vni: int = 42) -> None:
        """Until it says that it serves these of an overlay, and no others."""
        start = f"serving VNI {vni} from "
        self.await_line(
            lambda line: (
                line.startswith(start) and line.count("(") == len(macs) and all(m in line for m in macs)
            )
        )

    def await_line(self, wanted: Callable[[str], bool]) -> str:
        """The next such line that it says."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            if wanted(line):
                return line
        raise AssertionError(self.said)

    @property
    def guardian(self) -> int:
        """The process that puts the host right where this one is killed."""
        pid = self.process.pid
        [child] = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(child)

    def end(self, number: int = signal.SIGINT) -> tuple[int, str]:
        """Its exit code, and what it printed."""
        self.process.send_signal(number)
        out, _ = self.process.communicate(timeout=60)
        return self.process.returncode, out

    def counted(self) -> dict[str, Any]:
        """End it, and what it has counted."""
        code, out = self.end()
        assert code == 0, self.said
        found: dict[str, Any] = json.loads(out)
        return found


@contextmanager
def attached(lab: Lab, *more: str, before: tuple[str, ...] = ()) -> Iterator[Attached]:
    running = Attached(lab, *more, before=before)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.end(signal.SIGKILL)
        for stream in (running.process.stdout, running.process.stderr):
            if stream:
                stream.close()


def macs(lab: Lab) -> list[str]:
    return [each.mac for each in lab.plan.containers]


def host_links(lab: Lab) -> dict[str, bool]:
    """Devices of the lab's host, and whether XDP is attached."""
    with netns.entered(lab.host_ns), IPRoute() as ip:
        found = {each.get("ifname"): each.get_attr("IFLA_XDP") for each in ip.get_links()}
    return {name: bool(xdp and xdp.get_attr("IFLA_XDP_ATTACHED")) for name, xdp in found.items()}
