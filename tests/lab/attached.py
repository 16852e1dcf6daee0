"""What tests of attaching share: controllers to be killed, and a host looked at closely.

Compiling takes two seconds. So a controller here is a fork of the test's process, which has the
programs ready; its links are its own, and go with it as any controller's do.
"""

import logging
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Self

import numpy as np
from pyroute2 import IPRoute

from bench.lab_plan import Lab
from bench.sinks import EVERYTHING, CountSink
from bench.traffic import Traffic
from bench.wire import Wire
from steering import bpf, control, controller, daemon, ethtool, journal, netns
from steering.overlay.hooks import programs_at
from steering.plan import Plan, read_plan
from steering.spec import Spec
from steering.unit import Programs

FORK = multiprocessing.get_context("fork")
STILL = 0.3
"""Seconds without a packet after which none is on its way."""
ATT = "att"
"""The lab's name: nobody else's."""


def plan(text: str, *cores: int) -> Plan:
    return read_plan(Spec.parse(text), cores or (1,))


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def snapshot(lab: Lab) -> dict[str, Any]:
    """Devices, settings and programs of the lab's namespaces but the wire's, each by its path."""
    return {
        f"{ns} {name} {key}": value
        for ns in lab.namespaces
        if ns != lab.wire_ns
        for name, facts in _namespace(ns).items()
        for key, value in facts.items()
    }


def _namespace(ns: str) -> dict[str, dict[str, Any]]:
    with netns.entered(ns), IPRoute() as route:
        links = {link.get_attr("IFLA_IFNAME"): link for link in route.get_links()}
        names = {link["index"]: name for name, link in links.items()}
        found = {name: _device(name, link) for name, link in links.items()}
    for facts in found.values():  # by name: a device that is made again has another number
        facts["MASTER"] = names.get(facts["MASTER"])
    return found


def _device(name: str, link: Any) -> dict[str, Any]:
    xdp = link.get_attr("IFLA_XDP")
    found = {
        key: link.get_attr(f"IFLA_{key}")
        for key in ("MTU", "MASTER", "TXQLEN", "GRO_MAX_SIZE", "PROMISCUITY", "OPERSTATE")
    }
    found["xdp"] = xdp.get_attr("IFLA_XDP_PROG_ID") if xdp else None
    found["tcx"] = programs_at(link["index"], bpf.ATTACH_TCX_INGRESS)
    if name != "lo":
        with ethtool._opened(name) as tool:
            found.update({each: bool(on) for each, on, *_ in tool.get_features()})
    if name.startswith(("eth", "nic")):
        found["channels"] = ethtool.channels(name)
    return found


def sockets_of(lab: Lab) -> list[Path]:
    inode = netns.identity(lab.host_ns)
    return list(control.SOCKETS.glob(f"{inode}-*.sock"))


def journals_of(pid: int) -> list[Path]:
    return list(journal.JOURNALS.glob(f"*-{pid}-*"))


class Shop:
    """Compiled programs, to be used by many controllers one after the other; a context manager."""

    def __init__(self, *plans: Plan) -> None:
        self.programs = Programs()
        self.plans = list(plans)
        for each in plans:
            self.programs.unit(each)
        for hop in (0, 1):
            self.programs.peer(hop).load("peer", bpf.PROG_TYPE_SCHED_CLS)

    def open(self) -> None:
        """From now on this process's controllers take their programs here, and leave them here."""
        self.programs.close = lambda: None  # type: ignore[method-assign]
        controller.Programs = lambda: self.programs  # type: ignore[assignment,misc]
        daemon.close_inherited = lambda keep: None  # the programs are inherited

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.programs.close()


def kill_after(calls: int) -> None:
    """Let this process be killed at its Nth call from now on into the interpreter's C functions.

    Everything that changes the host is done by such a call.
    """
    left = calls

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal left
        if event == "c_call":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count)


def count_calls(body: Callable[[], None]) -> int:
    """How many such calls something makes."""
    made = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal made
        made += event == "c_call"

    sys.setprofile(count)
    try:
        body()
    finally:
        sys.setprofile(None)
    return made


def whole_life(shop: Shop, lab: Lab, plans: list[Plan]) -> None:
    """All that a controller does: attach, swap through the plans and back, detach."""
    shop.open()

    def live(one: controller.Controller) -> None:
        for each in (*plans[1:], plans[0]):
            one.answer({"do": "swap", "policy": each.policy.name})
            one.answer({"do": "status"})
        one.stop()

    controller.run(controller.Wish(lab.nic, lab.host_ns, plans[0]), live)


@contextmanager
def traffic(wire: Wire, sink: CountSink, rate: int = 20000, flows: int = 1) -> Iterator[None]:
    """Packets flow during the block."""
    sink.configure(1, EVERYTHING)
    wire.configure(Traffic(rate=rate, flows=flows), 1, (0,))
    wire.start()
    try:
        yield
    finally:
        wire.stop()
        drain(wire, sink)


def drain(wire: Wire, sink: CountSink) -> None:
    """Until all has arrived, or nothing more does: a worker may wait long on a busy machine."""
    sent, before, since = wire.offered().sent, -1, time.monotonic()
    while (now := sink.counts().delivered) < sent and time.monotonic() - since < STILL:
        if now != before:
            before, since = now, time.monotonic()
        time.sleep(0.01)


def missing(wire: Wire, sink: CountSink) -> int:
    """Packets of the last traffic that have not arrived; asserts that none came twice."""
    assert sink.counts().unlogged == 0
    arrivals = sink.arrivals()
    assert len(np.unique(arrivals[["flow", "sequence"]])) == len(arrivals)
    return wire.offered().sent - len(arrivals)


def forked(body: Callable[[], None]) -> BaseProcess:
    """A process that does this and nothing else; not to be made while there are threads."""
    process = FORK.Process(target=_quietly, args=(body,))
    process.start()
    return process


def _quietly(body: Callable[[], None]) -> None:
    logging.disable()
    body()
