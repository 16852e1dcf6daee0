"""Packets of many flows through the datapath over all cores: what came of them, in what order."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.lab_plan import Lab
from bench.losses import Drops, Losses, by_stage
from bench.sinks import EVERYTHING, CountSink
from bench.traffic import Traffic
from bench.wire import Wire
from steering import netns
from steering.datapath import Datapath
from steering.overlay import discovered
from steering.plan import Plan
from steering.undo import Changes
from steering.unit import Programs, Totals

FLOWS, PACKETS = 16, 3000
_PATIENCE = 240.0
"""Seconds: of a core that is emulated, and shared with others, nothing may be asked sooner."""


@dataclass(frozen=True)
class Outcome:
    """Where the packets went."""

    sent: int
    delivered: int
    totals: Totals
    lost: Drops
    """By the kernel's own counters."""
    done: list[int]
    """Packets that each worker took out of its queue."""
    unfinished: int
    """Packets that a policy which follows them to their end still believes to be on their way."""
    reordered: int
    """Packets that arrived after a later one of their flow."""

    @property
    def passed(self) -> int:
        """Frames left to the stock path."""
        return sum(n for name, n in self.totals.steer.items() if name.startswith(("pass", "refus")))

    @property
    def dropped(self) -> int:
        """Packets lost under some name."""
        counted = (*self.totals.steer.items(), *self.totals.deliver.items())
        own = sum(n for name, n in counted if name.startswith("drop"))
        kernel = sum(n for names in self.lost.values() for n in names.values())
        return own + self.totals.lost + kernel


class Road:
    """A lab with its wire and its sink. A context manager's value: see :func:`road`."""

    def __init__(self, lab: Lab, wire: Wire, sink: CountSink, losses: Losses) -> None:
        self._lab, self._wire, self._sink, self._losses = lab, wire, sink, losses
        self._programs = Programs()
        self._runs = 0

    @contextmanager
    def attached(self, plan: Plan) -> Iterator[Datapath]:
        """Our datapath on its NIC."""
        with (
            discovered(self._lab.host_ns, self._lab.nic) as overlay,
            Changes() as changes,
            Datapath(overlay, plan, changes, self._programs) as datapath,
        ):
            yield datapath

    def drive(self, datapath: Datapath, rate: int | None) -> Outcome:
        """Send :data:`PACKETS`, and wait for the last of them."""
        self._runs += 1
        before, lost = datapath.totals(), self._losses.read()
        done = datapath.unit.workers()["done"].copy()
        self._sink.configure(self._runs, EVERYTHING)
        self._wire.configure(Traffic(rate=rate, flows=FLOWS), self._runs, (0,), limit=PACKETS)
        self._wire.start()
        _until(lambda: self._wire.offered().sent >= PACKETS)
        sent = self._wire.stop().sent
        _until(lambda: datapath.unit.totals().gone >= datapath.unit.totals().sent)
        self._settle()
        workers, follows = datapath.unit.workers(), datapath.unit.tail is not None
        return Outcome(
            sent,
            self._sink.counts().delivered,
            datapath.totals() - before,
            by_stage(lost, self._losses.read()),
            [int(n) for n in workers["done"] - done],
            int((workers["done"] - workers["finished"]).sum()) if follows else 0,
            _reordered(self._sink.arrivals()),
        )

    def stream(self, data: bytes) -> bytes:
        """What comes of a TCP stream from the remote talker to the container."""
        end, got = self._lab.endpoints[0], bytearray()
        with netns.entered(end.netns):
            server = socket.create_server((end.ip, 0))
        with netns.entered(self._lab.wire_ns):
            client = socket.create_connection(server.getsockname(), _PATIENCE)
        with server, client:
            sending = threading.Thread(target=client.sendall, args=(data,))
            taken, _ = server.accept()
            sending.start()
            with taken:
                taken.settimeout(_PATIENCE)
                while len(got) < len(data) and (part := taken.recv(1 << 16)):
                    got += part
            sending.join()
        return bytes(got)

    def _settle(self) -> None:
        """Until nothing has arrived for a while."""
        before, since = -1, time.monotonic()
        while time.monotonic() < since + 1.0:
            if (now := self._sink.counts().delivered) != before:
                before, since = now, time.monotonic()
            time.sleep(0.05)

    def close(self) -> None:
        """Let go of the programs."""
        self._programs.close()


@contextmanager
def road(lab: Lab) -> Iterator[Road]:
    """All that drives packets through a lab, and counts them."""
    with Wire(lab) as wire, CountSink(lab, FLOWS) as sink, Losses(lab) as losses:
        made = Road(lab, wire, sink, losses)
        try:
            yield made
        finally:
            made.close()


def _reordered(arrivals: np.ndarray[Any, Any]) -> int:
    flows = (arrivals["sequence"][arrivals["flow"] == flow] for flow in np.unique(arrivals["flow"]))
    return sum(int((np.diff(one.astype(np.int64)) < 0).sum()) for one in flows)


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
