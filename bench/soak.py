"""A soak: hours under change, and every packet accounted for.

A lab of containers, a real controller attached to it, the wire as fast as it was told. Meanwhile
policies are swapped, knobs changed, containers come and go; what happens when is drawn from a seed.
Every few seconds the wire stops, and at that quiet point each flow's packets are counted out.
"""

import math
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import histogram
from bench import lab as labs
from bench.losses import Losses
from bench.reasons import Reasons
from bench.sinks import SOME, CountSink
from bench.soak_control import HOT, RARE, YIELD, Controller, Drops
from bench.soak_lab import Containers
from bench.soak_watch import KernelLog, Memory, growth
from bench.traffic import Traffic
from bench.wire import Wire
from steering import stock
from steering.errors import OversprayError
from steering.registry import find
from steering.spec import Spec
from steering.undo import Changes

_MOST_FLOWS = 12
_ARRIVALS = Spec("constant", {"us": "50"})
"""As a NIC moderates its interrupts."""
_RARE_SHARE = 0.004
_STILL, _STILL_AT_MOST = 0.5, 10.0
_THIRDS = 3
_WARM_UP = 2
"""Rounds after which memory is looked at: by then all has been compiled once."""
_FLAT = 1.25
"""Times its first third that memory, maps and files may come to: what leaks comes to more."""
_FEW = 0.001
"""Of the packets, that the lab's NIC may miss, and that may take the stock path."""
_NONE = ("lost", "doubled", "misdelivered", "strays", "unaccounted")

Note = Callable[[str], None]


@dataclass(frozen=True)
class SoakSpec:
    """What is asked for. ``rate`` in packets a second; the others are events a second."""

    seconds: float
    seed: int = 1
    rate: int = 200_000
    containers: int = 6
    deliver: str = "peer"
    round_seconds: float = 3.0
    swaps: float = 10.0
    knobs: float = 5.0
    cycles: float = 1.0
    """Containers that go and come back."""
    name: str = "soak"


@dataclass
class Tally:
    """What a soak has counted."""

    seconds: float = 0.0
    rounds: int = 0
    packets: int = 0
    lost: int = 0
    """Of those that the lab's NIC took."""
    missed_by_nic: int = 0
    """It was not polled in time and its ring was full: lost before there is a path, ours or not."""
    unnamed: int = 0
    """Of the lost, those that no drop counter accounts for."""
    doubled: int = 0
    misdelivered: int = 0
    strays: int = 0
    """Packets of an earlier round."""
    unaccounted: int = 0
    """Sent, not lost in the ring of the lab's NIC, and yet not seen by the datapath."""
    stock_path: int = 0
    flows: int = 0
    drops: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    memory: list[Memory] = field(default_factory=list)
    kernel: list[str] = field(default_factory=list)
    latency: NDArray[np.uint64] = field(
        default_factory=lambda: np.zeros((_THIRDS, histogram.BUCKETS), np.uint64)
    )
    """Of each third of the time."""
    interrupted: bool = False
    failure: str = ""
    """What broke it off."""

    @property
    def growth(self) -> dict[str, Any]:
        """Of the controller, since all was compiled once."""
        return growth(self.memory[_WARM_UP:] or self.memory)

    @property
    def wrong(self) -> list[str]:
        """What is not as wanted, by name."""
        few = self.packets * _FEW
        bad = {name: getattr(self, name) > 0 for name in _NONE}
        bad |= {name: getattr(self, name) > few for name in ("missed_by_nic", "stock_path")}
        bad |= {name: ends["last"] > ends["first"] * _FLAT for name, ends in self.growth.items()}
        bad |= {"kernel": bool(self.kernel), "failure": bool(self.failure)}
        bad["packets"] = not self.packets
        return [name for name, found in bad.items() if found]

    @property
    def ok(self) -> bool:
        """Whether nothing was lost, misdelivered or complained of, and nothing grew."""
        return not self.wrong

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        plain = {
            name: getattr(self, name)
            for name in ("rounds", "packets", "lost", "missed_by_nic", "unnamed", "doubled")
        }
        thirds = [each for each in self.latency if each.any()] or [*self.latency]
        return {
            **plain,
            "misdelivered": self.misdelivered,
            "strays": self.strays,
            "unaccounted": self.unaccounted,
            "stock_path": self.stock_path,
            "flows": self.flows,
            "drops": dict(self.drops),
            "events": dict(self.events),
            "memory": self.growth,
            "kernel": self.kernel,
            "latency_ns": {
                "first": _percentiles(thirds[0]),
                "last": _percentiles(thirds[-1]),
            },
            "seconds": round(self.seconds, 1),
            "interrupted": self.interrupted,
            "failure": self.failure,
            "wrong": self.wrong,
            "ok": self.ok,
        }


def _percentiles(counts: NDArray[np.uint64]) -> dict[str, float | None]:
    return {f"p{q:g}": histogram.percentile(counts, q) for q in (50, 99, 99.9)}


def soak(
    spec: SoakSpec,
    note: Note = lambda text: None,
    step: Callable[[Tally], object] = lambda tally: None,
) -> Tally:
    """Run it; ended by a signal or a failure, it has counted up to there. ``step`` is told after
    each round.

    Raises:
        BadInput: a setting that can't be.
        OversprayError: the lab or the controller is not in its state.
    """
    lab_spec = labs.LabSpec("docker", spec.name, containers=spec.containers)
    with ExitStack() as stack:
        enter = stack.enter_context
        note("making the lab")
        lab = enter(labs.held(lab_spec))
        stock.coalesce(lab.target, [Spec("gro-list")], enter(Changes()))
        wire, sink = enter(Wire(lab)), enter(CountSink(lab, _MOST_FLOWS))
        # Of the containers nothing is held: they are to go.
        losses = enter(Losses(replace(lab, endpoints=())))
        kernel, drops = enter(KernelLog()), Drops(losses, enter(Reasons()))
        note("attaching")
        controller = enter(Controller(lab.host_ns, lab.nic, spec.deliver))
        run = _Run(spec, wire, sink, controller, Containers(lab, sink), drops)
        for name in (*RARE[:1], *HOT):
            note(f"compiling {name}")
            controller.swap(name)
        with _ended_by_signals() as ended:
            return run.rounds(ended, kernel, note, step)


class _Run:
    """The rounds of a soak."""

    def __init__(
        self,
        spec: SoakSpec,
        wire: Wire,
        sink: CountSink,
        controller: Controller,
        containers: Containers,
        drops: Drops,
    ) -> None:
        self.spec, self.wire, self.sink = spec, wire, sink
        self.controller, self.containers, self.drops = controller, containers, drops
        self.tally = Tally()
        self._chance = random.Random(spec.seed)
        self._number = 0

    def rounds(
        self, ended: threading.Event, kernel: KernelLog, note: Note, step: Callable[[Tally], object]
    ) -> Tally:
        """All of them."""
        tally, begin = self.tally, time.monotonic()
        while not ended.is_set() and time.monotonic() - begin < self.spec.seconds:
            try:
                self._round(ended)
                tally.rounds += 1
                tally.seconds = time.monotonic() - begin
                tally.memory.append(Memory.of(self.controller.pid))
                tally.kernel = list(kernel.read())
                step(tally)
            except (OversprayError, OSError) as error:  # the hours before it are not in vain
                tally.failure = str(error)
                break
            note(
                f"{tally.packets / 1e6:.1f} M packets, {tally.events['swaps']} swaps, "
                f"{tally.events['containers']} containers, {tally.lost} lost"
            )
        tally.interrupted = ended.is_set()
        return tally

    def _round(self, ended: threading.Event) -> None:
        chance, here = self._chance, sorted(self.containers.here)
        self._number += 1
        chosen = sorted(chance.sample(here, chance.randint(1, max(1, len(here) - 2))))
        flows = chance.randint(1, _MOST_FLOWS)
        lab = self.containers.lab
        # The wire knows but those that it sends to.
        self.wire.lab = replace(lab, endpoints=tuple(lab.endpoints[each] for each in chosen))
        self.sink.configure(self._number, SOME)
        self.wire.configure(
            Traffic(rate=self.spec.rate, flows=flows, arrivals=_ARRIVALS), self._number, (0,)
        )
        macs = {lab.endpoints[each].mac for each in here}
        self.controller.await_served(macs)  # the stock path would lose at this rate
        before = self.controller.counts()
        self.drops.begin()
        self.tally.flows += flows
        self.wire.start()
        try:
            with _yielding():
                self._events(ended, idle=set(range(len(lab.endpoints))) - set(chosen))
        finally:
            self.wire.stop()
        self._drain()
        self._count(before)

    def _events(self, ended: threading.Event, idle: set[int]) -> None:
        """What happens meanwhile, each kind as often as it was asked for, at drawn times."""
        chance, end = self._chance, time.monotonic() + self.spec.round_seconds
        rates: dict[Callable[[], None], float] = {
            self._swap: self.spec.swaps,
            self._set: self.spec.knobs,
            lambda: self._cycle(idle): self.spec.cycles * 2,  # one goes, or one comes
        }
        due = {event: time.monotonic() + chance.expovariate(rate) for event, rate in rates.items()}
        while not ended.is_set():
            event = min(due, key=lambda each: due[each])
            wait = min(due[event], end) - time.monotonic()
            if wait > 0 and ended.wait(wait):
                return
            if time.monotonic() >= end:
                return
            event()
            due[event] += chance.expovariate(rates[event])

    def _swap(self) -> None:
        rare = self._chance.random() < _RARE_SHARE
        self.controller.swap(self._chance.choice(RARE if rare else HOT))
        self.tally.events["swaps"] += 1

    def _set(self) -> None:
        """One knob of the policy, near its default: what drowns is no soak."""
        policy = find(Spec(self.controller.policy))
        if not policy.knobs:
            return
        name, knob = self._chance.choice(list(policy.knobs.items()))
        low = max(knob.low, knob.default // 2)
        value = self._chance.randint(low, max(low, min(knob.high, knob.default * 2)))
        self.controller.set(name, value)
        self.tally.events["knobs"] += 1

    def _cycle(self, idle: set[int]) -> None:
        """One of those that nobody sends to goes, or one that went comes back."""
        away = sorted(idle - self.containers.here)
        there = sorted(idle & self.containers.here)
        if away and (not there or len(away) > 1 or self._chance.random() < 0.5):
            self.containers.come(self._chance.choice(away))
        elif there:
            self.containers.go(self._chance.choice(there), whole=self._chance.random() < 0.5)
        self.tally.events |= self.containers.cycles

    def _drain(self) -> None:
        """Until all has arrived, or nothing more does."""
        sent, end = self.wire.offered().sent, time.monotonic() + _STILL_AT_MOST
        before, since = -1, time.monotonic()
        while time.monotonic() < end:
            now = self.sink.counts().delivered
            if now == sent:
                return
            if now != before:
                before, since = now, time.monotonic()
            if time.monotonic() - since > _STILL:
                return
            time.sleep(0.002)

    def _count(self, before: dict[str, Any]) -> None:
        """The quiet point: each flow's packets, and those of the datapath."""
        tally, counts = self.tally, self.sink.counts()
        sent = np.array(self.wire.sent_by_flow(), np.int64)
        got = self.sink.by_flow().delivered[: len(sent)].astype(np.int64)
        lost, doubled = int((sent - got).clip(0).sum()), int((got - sent).clip(0).sum())
        after = self.controller.counts()
        ring = self.drops.ring()
        lost = max(0, lost - ring)
        tally.packets += int(sent.sum())
        tally.lost += lost
        tally.missed_by_nic += ring
        tally.doubled += doubled
        tally.strays += counts.foreign
        tally.misdelivered = self.containers.strangers()
        tally.unaccounted += abs(after["seen"] - before["seen"] + ring - int(sent.sum()))
        tally.stock_path += after["passed"] - before["passed"]
        names = Counter(after["dropped"])
        names.subtract(before["dropped"])
        if sum(names.values()) < lost:
            names.update(self.drops.by_reason())
        if lost:
            tally.drops += names
            tally.unnamed += max(0, lost - sum(names.values()))
        third = int(_THIRDS * tally.seconds / self.spec.seconds)
        tally.latency[min(_THIRDS - 1, third)] += self.sink.latency()


@contextmanager
def _yielding() -> Iterator[None]:
    """This thread does not take the cores from those that it watches; the wire's has begun."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, 0, YIELD)
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)


@contextmanager
def _ended_by_signals() -> Iterator[threading.Event]:
    """Set by ^C and SIGTERM: what was counted is told all the same."""
    ended = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    main = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGINT, signal.SIGTERM) if main else ()
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield ended
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def rounds_of(spec: SoakSpec) -> int:
    """About how many rounds it will be."""
    return max(1, math.ceil(spec.seconds / (spec.round_seconds + 0.3)))
