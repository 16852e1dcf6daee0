"""A machine in plain SimPy: cores that take turns between threads, costs, time, what is counted."""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

import simpy

from prototype.costs import Costs
from prototype.model_load import Load

SOFTIRQ, WORKER, APPLICATION = "softirq", "cpumap", "application"

Process = Generator[simpy.Event, Any, None]
Cost = Callable[[], float]


@dataclass
class Tally:
    """What came of a run."""

    offered: int = 0
    delivered: int = 0
    in_time: int = 0
    reordered: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    did: Counter[str] = field(default_factory=Counter)
    """Interrupts, softirqs, polls, bulks and so on."""
    busy: defaultdict[tuple[int, str], float] = field(default_factory=lambda: defaultdict(float))
    """ns by core and kind."""
    latency: list[float] = field(default_factory=list)


class World(simpy.Environment):
    """Time, and what all parts of a machine share: costs, counts, memory, contention."""

    def __init__(self, load: Load, costs: Costs) -> None:
        super().__init__()
        self.load, self.costs, self.shared = load, costs, costs.shared
        self.stop = load.seconds * 1e9
        self.tally = Tally()
        self.random = random.Random(load.seed)
        self.busy_cores = 0
        self.pressure, self._bytes, self._window_end = 1.0, 0.0, 0.0

    def cost(self, *names: str, more: float = 0.0) -> Cost:
        """Of stages that come together: each call draws one of its equally likely values."""
        stages = self.costs.stages
        values = sum(getattr(stages, name).quantiles(256) for name in names) + more
        drawn, values = self.random.random, values.tolist()
        return lambda: values[int(drawn() * 256)]

    def moves(self, count: float) -> None:
        """Bytes through the memory, whose bandwidth slows what moves them (M/D/1's mean wait)."""
        if not self.shared.memory:
            return
        self._bytes += count
        if self.now >= self._window_end:
            bandwidth = self.shared.memory / 1e9
            used = min(0.98, self._bytes / (self.now - self._window_end + 50_000.0) / bandwidth)
            self.pressure = 1.0 + used / (2.0 * (1.0 - used))
            self._bytes, self._window_end = 0.0, self.now + 50_000.0


class Core:
    """Does one thing at a time. Of the threads that want it, it takes the one that had least."""

    def __init__(self, world: World, number: int, weight: float) -> None:
        self.world, self.number, self.weight = world, number, weight
        self.switch = world.cost("switch")
        self.running = self.last = ""
        self.idle = True
        self.waiting: dict[str, simpy.Event] = {}
        self.had: defaultdict[str, float] = defaultdict(float)
        self.debt = 0.0
        """Work found out meanwhile, ns; the next unit pays it."""

    def turn(self, thread: str) -> simpy.Event:
        """Happens when the thread may run; it gives way if it runs already."""
        self.waiting[thread] = event = self.world.event()
        if self.running in ("", thread):
            self._choose()
        return event

    def leave(self) -> None:
        """The running thread sleeps."""
        self._choose()

    def _choose(self) -> None:
        if not self.waiting:
            self.running = ""
            self.world.busy_cores -= not self.idle
            self.idle = True
            return
        piece, current = self.world.shared.slice, self.had[self.last]
        for thread in self.waiting:
            # Who slept may not make up for all of it.
            self.had[thread] = max(self.had[thread], current - 2.0 * piece)
        thread = min(self.waiting, key=lambda t: self.had[t] - (piece if t == self.last else 0.0))
        if thread not in (SOFTIRQ, self.last):
            self.debt += self.switch()
            self.world.tally.did["switches"] += 1
            self.last = thread
        self.running = thread
        self.waiting.pop(thread).succeed()

    def takes(self, cost: float) -> float:
        """ns of a unit that begins now, beside other busy cores; what was owed included."""
        self.world.busy_cores += self.idle
        self.idle = False
        others = self.world.busy_cores - 1
        took = (cost + self.debt) * (1.0 + self.world.shared.contention * others)
        self.debt = 0.0
        self.spend(took, self.world.now)
        return took

    def spend(self, took: float, since: float) -> None:
        """Count time of a unit that began then."""
        if since < self.world.stop:
            self.world.tally.busy[self.number, self.running] += took
        self.had[self.running] += took / (self.weight if self.running == WORKER else 1.0)

    def work(self, cost: float) -> simpy.Event:
        """A unit of work."""
        return self.world.timeout(self.takes(cost))


class Sleeper:
    """A thread that sleeps while its queue is empty, and is woken."""

    def __init__(self, core: Core, kind: str, room: float) -> None:
        self.world = world = core.world
        self.core, self.kind = core, kind
        self.queue = simpy.Store(world, room)
        self.asleep, self.woken = True, world.event()
        self.wake_cost = world.cost("wake")
        world.process(self.life())

    def wake(self, by: Core) -> None:
        """It has something to do; the waker pays."""
        if not self.asleep:
            return
        self.asleep = False
        by.debt += self.wake_cost()
        self.world.tally.did["wakeups"] += 1
        self.woken.succeed()

    def life(self) -> Process:
        """Sleep, and one step after the other until the queue is empty."""
        while True:
            yield self.woken
            yield self.world.timeout(self.world.shared.wake_latency)
            while self.queue.items:
                yield self.core.turn(self.kind)
                yield from self.step()
            self.asleep, self.woken = True, self.world.event()
            self.core.leave()

    def step(self) -> Process:
        """What it does before others may have the core."""
        raise NotImplementedError
