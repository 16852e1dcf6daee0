"""The test bed: labs, wires, sinks and compiled programs, kept ready from run to run.

A run only switches what its variant needs, so that runs of different variants can be interleaved
without rebuilding anything between them.
"""

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from bench import lab as labs
from bench.collectors import Collectors
from bench.experiment import Placement
from bench.iperf import IperfClient
from bench.lab_plan import Lab, LabSpec
from bench.neighbour import NONE, Neighbour
from bench.observer import Observer
from bench.sinks import Sink, opened
from bench.traffic import Traffic
from bench.variant import Variant
from bench.wire import Wire
from bench.wire_tcp import TcpWire
from steering import stock
from steering.closing import Closing
from steering.coalescing.own import OWN, merged
from steering.compile import Module
from steering.datapath import Datapath
from steering.errors import BadInput, OversprayError
from steering.overlay import Overlay, discovered
from steering.plan import Plan, read_plan
from steering.routes import Delivery
from steering.sampled import Orderer
from steering.spec import Spec
from steering.undo import Changes, recover
from steering.unit import Programs, Totals


@dataclass(frozen=True)
class BedSpec:
    """What all labs of a bed have in common."""

    name: str = "osp"
    containers: int = 1
    mtu: int = 1500
    outer: int = 4
    inner: int = 4

    def lab(self, case: str) -> LabSpec:
        """The lab of one case; cases without containers have one endpoint."""
        containers = self.containers if case in ("docker", "flannel") else 1
        return LabSpec(case, self.name, containers, None, self.mtu, self.outer, self.inner)


_WIRES: Mapping[str, type[Wire]] = {"udp": Wire, "tcp": TcpWire, "iperf3": IperfClient}
"""What sends, by protocol."""


@dataclass
class Effect:
    """A variant in effect: what the kernel says is set, and our datapath if there is one."""

    settings: dict[str, str]
    read_back: Callable[[], dict[str, str]] = dict
    """Reads the kernel's part of ``settings`` again."""
    datapath: Datapath | None = None
    _before: Totals = field(default_factory=Totals)

    def restart(self) -> None:
        """Count from now on."""
        if self.datapath:
            self._before = self.datapath.totals()

    def counted(self) -> Totals:
        """What the datapath counted since; all zero for a stock variant."""
        return self.datapath.totals() - self._before if self.datapath else Totals()


class Bed(Closing):
    """A context manager; everything is made when it is first asked for."""

    def __init__(self, placement: Placement, spec: BedSpec | None = None) -> None:
        recover()  # what a killed run left changed would be taken for the host's own
        self.placement = placement
        self.spec = spec or BedSpec()
        self.programs = Programs()
        self._stack = ExitStack()
        self._stack.enter_context(_alone(self.spec.name))
        self._labs: dict[str, Lab] = {}
        self._wires: dict[tuple[str, str], Wire] = {}
        self._overlays: dict[str, Overlay] = {}
        self._sinks: dict[str, tuple[object, ExitStack, Sink]] = {}
        self._collectors: dict[str, Collectors] = {}
        self._order: Module | None = None
        self._observer: Observer | None = None
        self._spec_beside, self.beside = NONE, Neighbour()
        self._stack.callback(self.programs.close)

    def lab(self, case: str) -> Lab:
        """The lab of a case, up."""
        if case not in self._labs:
            self._labs[case] = labs.up(self.spec.lab(case))
            self._stack.callback(labs.down, self.spec.name, case)
        return self._labs[case]

    def wire(self, case: str, protocol: str) -> Wire:
        """The wire into a case's lab; those of other protocols make room for it."""
        key = case, protocol
        for (of, other), wire in self._wires.items():
            if of == case and other != protocol:
                wire.rest()
        if key not in self._wires:
            self._wires[key] = self._stack.enter_context(_WIRES[protocol](self.lab(case)))
        return self._wires[key]

    def sink(self, case: str, spec: Spec, traffic: Traffic) -> Sink:
        """The sink behind a case's lab; another one than before closes that."""
        held = self._sinks.get(case)
        # Of datagrams it takes any; a stream's has to know what comes.
        wanted = (
            spec,
            traffic.flows,
            (traffic.kind, traffic.payload) if traffic.protocol != "udp" else None,
        )
        if held and held[0] == wanted:
            return held[2]
        if held:
            held[1].close()
        stack = ExitStack()
        app = self.placement.app or 0
        sink = stack.enter_context(opened(self.lab(case), spec, app, traffic))
        self._sinks[case] = wanted, stack, sink
        return sink

    def collectors(self, case: str) -> Collectors:
        """What counts costs and losses in a case's lab."""
        if self._observer is None:
            self._observer = self._stack.enter_context(Observer())
        if case not in self._collectors:
            cores = sorted(os.sched_getaffinity(0))
            found = Collectors(self.lab(case), cores, self._observer)
            self._collectors[case] = self._stack.enter_context(found)
        return self._collectors[case]

    def overlay(self, case: str) -> Overlay:
        """The overlay behind a case's NIC."""
        if case not in self._overlays:
            lab = self.lab(case)
            found = discovered(lab.host_ns, lab.nic)
            self._overlays[case] = self._stack.enter_context(found)
        return self._overlays[case]

    def put_beside(self, spec: Spec) -> None:
        """From now on runs have this neighbour; it runs until another one takes its place."""
        if spec != self._spec_beside:
            self.beside.stop()
            self._spec_beside, self.beside = spec, Neighbour(spec)

    @contextmanager
    def in_effect(self, variant: Variant) -> Iterator[Effect]:
        """The variant is set up for the length of the block, then put back.

        Raises:
            BadInput: a name or knob that does not exist, or ours in case ``native``.
        """
        check(variant, self.placement)
        target = self.lab(variant.case).target

        def read_back() -> dict[str, str]:
            return settings_text(stock.effective(target))

        with Changes() as changes, ExitStack() as stack:
            steering, coalescing = merged(variant.steering, variant.coalescing)
            stock.coalesce(target, coalescing, changes)
            if variant.family != "ours":
                stock.steer(target, variant.steering, changes)
                yield Effect(read_back(), read_back)
                return
            plan = read_plan(steering, self.placement.workers)
            overlay = self.overlay(variant.case)
            datapath = stack.enter_context(Datapath(overlay, plan, changes, self.programs))
            yield Effect(read_back() | plan_text(plan), read_back, datapath)

    @contextmanager
    def watching_order(
        self, effect: Effect, traffic: Traffic
    ) -> Iterator[Callable[[], dict[str, int]]]:
        """Yields what reads the order after GRO since then (enum order_counter, all cores).

        Of streams through our datapath: a datagram does not tell its place, and a stock packet not
        that it is ours.
        """
        watched = effect.datapath
        if (
            watched is None
            or traffic.protocol == "udp"
            or watched.plan.delivery is not Delivery.PEER
        ):
            yield dict
            return
        if self._order is None:
            self._order = self._stack.enter_context(Module("order.bpf.c"))
        watch = Orderer(self._order, watched)
        before = watch.totals()
        try:
            yield lambda: {name: n - before[name] for name, n in watch.totals().items()}
        finally:
            watch.detach()

    def close(self) -> None:
        """Take everything down."""
        self.beside.stop()
        for _, stack, _ in self._sinks.values():
            stack.close()
        self._sinks.clear()
        self._stack.close()


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """Nobody else uses labs of this name meanwhile: who leaves first would take them down.

    Raises:
        OversprayError: another run does.
    """
    folder = labs.STATE.parent / "beds"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OversprayError(
                f"lab '{name}' is in use by another run: wait, or name another one with --lab"
            ) from None
        yield


def check(variant: Variant, placement: Placement) -> None:
    """BadInput for a name, knob or core that does not exist, or ours in case ``native``.

    Touches nothing. What ``stock-best`` stands for is seen when it is resolved.
    """
    ours = variant.family == "ours"
    swept = variant.steering.name == "stock-best"
    steering, coalescing = merged(variant.steering, variant.coalescing)
    if not ours and coalescing != variant.coalescing:
        raise BadInput(f"'{variant}': +{' and +'.join(OWN)} gather what a policy of ours spreads")
    stock.check(None if ours or swept else steering, coalescing)
    if ours and variant.case == "native":
        raise BadInput(f"'{variant}': native has no tunnel to take off")
    if ours:
        read_plan(steering, placement.workers)


def settings_text(effective: Mapping[str, Mapping[str, object]]) -> dict[str, str]:
    """``device.setting`` -> value; what is off or zero everywhere says so too."""
    return {
        f"{device}.{name}" if device else name: str(value)
        for device, row in effective.items()
        for name, value in row.items()
    }


def plan_text(plan: Plan) -> dict[str, str]:
    """The same of a datapath."""
    return {
        "policy": plan.policy.name,
        "knobs": " ".join(f"{name}={value}" for name, value in plan.knobs.items()),
        "workers": " ".join(map(str, plan.cores)),
        "delivery": plan.delivery.value,
        "queue": str(plan.queue),
        "nice": str(plan.nice),
        "shield": str(plan.shield),
        "back": str(plan.back),
        "rps": str(plan.rps),
        "cells": str(plan.cells),
        "gro": str(plan.gro),
    }
