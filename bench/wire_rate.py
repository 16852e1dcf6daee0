"""How fast the wire is by itself: into an XDP program on the lab's NIC that drops every frame."""

import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from bench.lab import Lab
from bench.seen import dropping
from bench.traffic import Traffic
from bench.wire import Wire
from steering.errors import OversprayError
from steering.waiting import wait_for


@dataclass(frozen=True)
class Round:
    """One burst: where its frames went, and how long the wire took over it."""

    seconds: float
    sent: int
    seen: int
    """Frames that the NIC counted."""
    seen_by_core: dict[int, int]
    drops: dict[str, int]
    """Frames that never reached the NIC, by name."""

    @property
    def rate(self) -> float:
        """Frames a second that reached the NIC."""
        return self.seen / self.seconds

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "rate": self.rate}


def measure(lab: Lab, traffic: Traffic, core: int, frames: int, rounds: int) -> Iterator[Round]:
    """``rounds`` bursts of exactly ``frames`` frames, each given out when it is done.

    Raises OversprayError where sent is not seen plus the named drops, to the frame.
    """
    with dropping(lab) as nic, Wire(lab, traffic, core) as wire:
        for _ in range(rounds):
            counts, by_core = wire.counts(), nic.by_core()
            seen = int(by_core.sum())
            begin = time.monotonic()
            wire.send(frames)
            seconds = time.monotonic() - begin
            now = {name: value - counts[name] for name, value in wire.counts().items()}
            sent = now["sent"]
            drops = {name: value for name, value in now.items() if name.startswith("drop_")}
            arrived = sent - sum(drops.values())
            wait_for(lambda: nic.frames - seen >= arrived, f"{arrived} frames to reach the NIC")  # noqa: B023
            gained = nic.by_core() - by_core
            if int(gained.sum()) != arrived:
                raise OversprayError(
                    f"{sent} frames sent, {int(gained.sum())} seen, lost by name {drops}: they do not add up"
                )
            cores = {core: int(count) for core, count in enumerate(gained) if count}
            yield Round(seconds, sent, int(gained.sum()), cores, drops)


def summary(rounds: list[Round]) -> dict[str, float]:
    """Median, lowest and highest rate, in frames a second."""
    rates = [each.rate for each in rounds]
    return {"median": statistics.median(rates), "low": min(rates), "high": max(rates)}
