"""How long `attach` takes to see things, and what it costs when nothing happens.

    .venv/bin/python -m bench.attach_times FILE.json

Labs are the ground, as for everything that is measured here; it takes about a minute.
"""

import argparse
import json
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from pyroute2 import IPRoute

from bench import lab as labs
from bench import lab_build
from bench.fingerprint import fingerprint
from bench.lab import Lab
from bench.lab_plan import Plan
from steering import control, discover, netns
from steering.attach import How
from steering.choice import Choice
from steering.controller import Controller

LOOKS, STARTS, IDLE_S = 20, 20, 30.0
CONTAINERS = 100
Said = SimpleQueue[tuple[float, str]]
"""Lines, and when each was said, monotonic."""
_FIRST = 80
"""As many as one lab may have: the others are behind a second overlay."""


def main(file: str) -> None:
    """Measure all, and write it down."""
    found: dict[str, Any] = {
        "host": fingerprint(),
        "command": f"python -m bench.attach_times {Path(file).name}",
    }
    with many() as lab, netns.entered(lab.host_ns):
        found["discovery of 100 containers, s"] = spread([timed(discover.discover) for _ in range(LOOKS)])
    for count in (2, _FIRST):
        with labs.lab("docker", count) as lab, netns.entered(lab.host_ns):
            found[f"a container that starts among {count} is served after, s"] = spread(following(lab))
    with labs.lab("docker", 2) as lab, netns.entered(lab.host_ns):
        found["idle controller, share of a core"] = idle(lab)
    Path(file).write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps({name: value for name, value in found.items() if name != "host"}, indent=2))


def spread(seconds: list[float]) -> dict[str, float]:
    """Median and extremes."""
    return {
        "median": statistics.median(seconds),
        "least": min(seconds),
        "most": max(seconds),
        "n": len(seconds),
    }


def timed(what: Any) -> float:
    """How long one call takes, in s."""
    begun = time.monotonic()
    what()
    return time.monotonic() - begun


@contextmanager
def many() -> Iterator[Lab]:
    """A lab with 80 containers, and 20 more behind a second overlay of the same NIC."""
    plan = Plan("docker", CONTAINERS - _FIRST, vni=43, tunnel="vxlan1", bridge="br1")
    with labs.lab("docker", _FIRST) as lab:
        shared = {role: lab.names[role] for role in ("wire", "host")}
        names = {role: f"os-times{os.getpid()}-{role}" for role in plan.roles} | shared
        try:
            lab_build.build(plan, names, tuple(shared))
            yield lab
        finally:
            for name in set(names.values()) - set(shared.values()):
                netns.remove(name)


@contextmanager
def running(lab: Lab) -> Iterator[Said]:
    """A controller in a thread, and what it says."""
    said: Said = SimpleQueue()
    reading, writing = os.pipe()

    def run() -> None:
        with netns.entered(lab.host_ns), Controller("nic0", Choice.parse("backlog"), How(), say) as one:
            one.run(reading)

    def say(line: str) -> None:
        said.put((time.monotonic(), line))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        heard(said, lambda line: line.startswith("serving "))
        yield said
    finally:
        os.write(writing, b"1")
        thread.join()
        os.close(reading)
        os.close(writing)


def heard(said: Said, wanted: Callable[[str], bool]) -> float:
    """When such a line was said. Nothing is polled meanwhile: who says it needs the interpreter."""
    while True:
        moment, line = said.get(timeout=60)
        if wanted(line):
            return moment


def following(lab: Lab) -> list[float]:
    """s from the moment at which a container's port is on the bridge until it is served, STARTS times."""
    plan, each = lab.plan, lab.plan.containers[-1]
    taken = []
    with netns.entered(lab.names[plan.overlay_role]), IPRoute() as ip, running(lab) as said:
        [port], [bridge] = ip.link_lookup(ifname=each.veth), ip.link_lookup(ifname=plan.bridge)
        for _ in range(STARTS):
            ip.link("set", index=port, master=0)
            heard(said, lambda line: each.mac not in line)
            time.sleep(2 * max(0.1, timed(discover.discover)))  # it rests after a look
            begun = time.monotonic()
            ip.link("set", index=port, master=bridge)
            ip.fdb("add", ifindex=port, lladdr=each.mac, flags=0x04, state=0x40)
            taken.append(heard(said, lambda line: each.mac in line) - begun)
    return taken


def idle(lab: Lab) -> dict[str, float]:
    """CPU time of a controller and its guardian, by wall-clock time, while nothing happens."""
    with running(lab):
        tasks = [os.getpid(), *children()]
        before = sum(map(cpu_s, tasks))
        time.sleep(IDLE_S)
        control.ask(os.getpid(), {"ask": "status"})
        share = (sum(map(cpu_s, tasks)) - before) / IDLE_S
    return {"share": share, "seconds": IDLE_S}


def children() -> list[int]:
    """Of this process: the guardian."""
    texts = (each.read_text() for each in Path("/proc/self/task").glob("*/children"))
    return [int(pid) for text in texts for pid in text.split()]


def cpu_s(pid: int) -> float:
    """What it has used so far, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("file", help="where to write what was measured")
    main(parser.parse_args().file)
