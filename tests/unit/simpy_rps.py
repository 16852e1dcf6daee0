"""A small SimPy model of a stock path with RPS on two cores."""

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import simpy


@dataclass
class Tally:
    """What came of a run."""

    offered: int = 0
    lost: dict[str, int] = field(default_factory=lambda: {"ring": 0, "backlog": 0})
    waits: list[float] = field(default_factory=list)


class Core:
    """A server with a bounded queue in front of it; a backlog's is taken as a whole, as the kernel
    splices it (process_backlog), so that the limit is for what came since."""

    def __init__(
        self, world: simpy.Environment, name: str, service: float, limit: int, spliced: bool = False
    ) -> None:
        self.world, self.name, self.service, self.limit = world, name, service, limit
        self.spliced = spliced
        self.queue: simpy.Store = simpy.Store(world)

    def offer(self, tally: Tally, due: float) -> None:
        if len(self.queue.items) >= self.limit:
            tally.lost[self.name] += 1
        else:
            self.queue.put(due)

    def serve(self, tally: Tally, following: "Core | None") -> Generator[Any, Any, None]:
        while True:
            taken = [(yield self.queue.get())]
            while self.spliced and self.queue.items:
                taken.append((yield self.queue.get()))
            for due in taken:
                yield self.world.timeout(self.service)
                if following:
                    following.offer(tally, due)
                else:
                    tally.waits.append(self.world.now - due)


def simulate(
    rate: float, packets: int, nic: float, stack: float, ring: int, backlog: int, seed: int = 1
) -> Tally:
    """Poisson arrivals of so many packets a second; costs in ns a packet."""
    world, tally = simpy.Environment(), Tally()
    first, last = Core(world, "ring", nic, ring), Core(world, "backlog", stack, backlog, True)
    gaps = np.random.default_rng(seed).exponential(1e9 / rate, packets)

    def arrivals() -> Generator[Any, Any, None]:
        for gap in gaps:
            yield world.timeout(gap)
            tally.offered += 1
            first.offer(tally, world.now)

    world.process(arrivals())
    world.process(first.serve(tally, last))
    world.process(last.serve(tally, None))
    world.run()
    return tally
