"""What our programs cost: the NIC stage by part, policy by policy; and the observers, event by event.

The first by BPF_PROG_TEST_RUN of programs that end after each part. Everything is in the caches then, and no
other core writes: what a look at a worker's counters costs when that worker runs is not in it.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median

from bench.bed import Bed
from bench.explain import Explainer
from bench.frame import build
from bench.lab_plan import Plan as LabPlan
from bench.run import measured
from bench.statistics import Interval, interval
from bench.variant import Variant
from bench.wire import on_core
from steering import bpf
from steering.bpf import Kind
from steering.plan import Plan
from steering.unit import Route, Unit

PARTS = ("nothing", "parse", "classify", "policy")
"""Each program does what the one before it does, and its own part."""


@dataclass(frozen=True)
class Cost:
    """Nanoseconds a packet that each part adds; of ``nothing`` the call itself, and finding its maps."""

    policy: str
    parts: dict[str, Interval]


def measure(
    plans: Sequence[Plan],
    core: int,
    rounds: int,
    done: Callable[[int], None],
    runs: int = 100_000,
    lab: LabPlan | None = None,
) -> list[Cost]:
    """Rounds are interleaved over policies and parts; the figures are medians of the rounds' differences.

    The frame is one of 18 bytes for the first container of ``lab``, which need not be there; of IPv4 in IPv4,
    if left out.
    """
    lab = lab or LabPlan("flannel")
    frame = build(lab, 18).checked
    with ExitStack() as stack:
        units = [stack.enter_context(Unit(plan, secret=1, more=("cost.bpf.c",))) for plan in plans]
        taken: list[dict[str, list[float]]] = [{part: [] for part in PARTS} for _ in units]
        for plan, unit in zip(plans, units, strict=True):
            unit.serve(plan, lab.nic_mac)
            unit.route([route_of(lab)])
        for number in range(-1, rounds):
            for unit, times in zip(units, taken, strict=True):
                spent = [_timed(unit, f"cost_{part}", frame, core, runs) for part in PARTS]
                for part, now, before in zip(PARTS, spent, [0.0, *spent], strict=False):
                    if number >= 0:  # the first one warms up
                        times[part].append(now - before)
            done(number + 1)
    return [
        Cost(plan.policy.name, {part: interval(times[part]) for part in PARTS})
        for plan, times in zip(plans, taken, strict=True)
    ]


@dataclass(frozen=True)
class Watching:
    """What one observer's program costs while a variant runs."""

    event: str
    """``ours`` where it belongs to a policy, whose counts depend on it."""
    every_run: bool
    """Else it observes the runs that explain (bench/explain.py) alone."""
    events: float
    """A delivered packet."""
    ns: float | None
    """An event, without what timing a program that does nothing takes; None where there was no event."""

    @property
    def ns_a_packet(self) -> float:
        """ns a delivered packet, on all cores together."""
        return self.events * (self.ns or 0.0)


def watching(bed: Bed, variant: Variant, seconds: float) -> list[Watching]:
    """What the observers cost in one run, by the kernel's own statistics on programs (Linux 5.8).

    Raises as :func:`bench.run.run`, and as `bench.explain.Explainer`.
    """
    with ExitStack() as stack:
        explainer = stack.enter_context(Explainer(bed))
        effect = stack.enter_context(bed.in_effect(variant))
        nothing = stack.enter_context(bpf.Program(bpf.returning(0), Kind.RAW_TRACEPOINT, "nothing"))
        stack.enter_context(bpf.Tracepoint(nothing.fd, "kfree_skb"))  # the sink frees each packet
        stack.enter_context(bpf.Statistics())
        own = effect.datapath.unit.observers if effect.datapath else {}
        always = bed.observer.programs | {f"{event}, ours": program for event, program in own.items()}
        programs = {"nothing": nothing.fd, **always, **explainer.programs}
        before = {event: bpf.runs(program) for event, program in programs.items()}
        sample = measured(bed, variant, effect, seconds, 0.0, 0)
        ran = {event: bpf.runs(program) - before[event] for event, program in programs.items()}
    empty = ran.pop("nothing")
    timing = empty.ns / max(1, empty.count)
    return [
        Watching(
            event,
            event in always,
            found.count / max(1, sample.delivered),
            found.ns / found.count - timing if found.count else None,
        )
        for event, found in ran.items()
    ]


def route_of(lab: LabPlan) -> Route:
    """The way to the first container of a lab that need not be there: for test runs."""
    proof = (lab.nic_ip, lab.wire_ip, lab.vni, lab.port, lab.containers[0].mac, lab.tunnel_mac)
    return Route(*proof, lab.inner_mtu, device=1)


def _timed(unit: Unit, function: str, frame: bytes, core: int, runs: int) -> float:
    """ns a run; the middle one of several, for the machine is shared, and the kernel gives whole ones."""
    program = unit.load(function, Kind.XDP)
    with on_core(core):
        return median(bpf.timed_run(program, frame, runs) for _ in range(5))
