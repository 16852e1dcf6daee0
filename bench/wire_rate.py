"""How fast a wire is by itself: into an XDP program on the lab's NIC that drops every frame."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.bed import Bed
from bench.lab_plan import Lab
from bench.sinks import SOME
from bench.statistics import Interval, interval
from bench.traffic import Traffic
from bench.wire_tcp import TcpWire
from steering import bpf
from steering.compile import Module
from steering.errors import OversprayError
from steering.netns import entered
from steering.spec import Spec

_EVERY = np.dtype([("count", "u8")])


@dataclass(frozen=True)
class WireRate:
    """Frames a second that one wire thread puts on the NIC; ``rounds`` are its raw points."""

    case: str
    traffic: str
    payload: int
    rounds: list[float]
    """Frames a second that the NIC saw."""

    @property
    def rate(self) -> Interval:
        """Median, with its interval."""
        return interval(self.rounds)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        rate = self.rate
        return {
            **vars(self),
            "rate": {"median": rate.median, "low": rate.low, "high": rate.high},
        }


def measure(bed: Bed, case: str, kind: Spec, payload: int, seconds: float, rounds: int) -> WireRate:
    """Frames a second; of a TCP wire with windows that never shut, for nobody answers.

    Raises:
        OversprayError: the NIC saw another number than the wire has sent.
    """
    traffic = Traffic(payload, kind=kind)
    wire, core = bed.wire(case, traffic.protocol), bed.placement.nic
    points = []
    for number in range(rounds):
        if traffic.protocol == "tcp":
            bed.sink(case, Spec("trunc"), traffic).configure(number + 1, SOME)
        wire.configure(traffic, number + 1, (core,))
        with _dropping(bed.lab(case)) as seen:
            if isinstance(wire, TcpWire):
                wire.open_windows()
            begin = time.monotonic()
            wire.start(seconds)
            time.sleep(seconds)
            offered = wire.stop()
            took = time.monotonic() - begin
            arrived = seen()
        wire.finish()
        if abs(arrived - offered.sent) > offered.sent // 1000:
            raise OversprayError(f"the wire sent {offered.sent} frames, the NIC saw {arrived}")
        points.append(arrived / took)
    return WireRate(case, str(kind), payload, points)


@contextmanager
def _dropping(lab: Lab) -> Iterator[Any]:
    """The NIC drops all; yields what tells how many so far."""
    module = Module("drop.bpf.c")
    try:
        program = module.load("drop", bpf.PROG_TYPE_XDP)
        with entered(lab.host_ns):
            nic = socket.if_nametoindex(lab.nic)
            link = bpf.link_create(program, nic, bpf.ATTACH_XDP, bpf.XDP_FLAGS_DRV_MODE)
        try:
            table = module.fd("dropped")
            yield lambda: int(bpf.map_lookup(table, bytes(4), _EVERY, per_core=True)["count"].sum())
        finally:
            os.close(link)
    finally:
        module.close()
