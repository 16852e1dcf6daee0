"""What lab tests of traffic share."""

from collections.abc import Iterator
from contextlib import contextmanager

from bench.lab import Lab
from steering import bpf, cores, netns, plan
from steering.bpf import Kind
from steering.compile import Module
from steering.datapath import Datapath, Units
from steering.plan import Plan
from steering.spec import Spec

NIC_CORE, WORKER_CORE = cores.usable()[0], cores.usable()[-1]
"""The wire's, and the only worker's: tests use two cores, however many there are."""


class Passing:
    """The stock stack under a program that counts what it leaves to it."""

    def __init__(self, module: Module) -> None:
        self._module = module

    @property
    def seen(self) -> int:
        return int(self._module.counts("pass_counters", "pass_counter")["seen"].sum())


@contextmanager
def passing(lab: Lab) -> Iterator[Passing]:
    with Module("pass.bpf.c") as module:
        program = module.load("pass", Kind.XDP)
        with netns.entered(lab.host_ns):
            link = bpf.Link(program, lab.nic_index, bpf.ATTACH_XDP, bpf.XDP_NATIVE)
        with link:
            yield Passing(module)


def planned(text: str, **common: str) -> Plan:
    """The plan of ``POLICY[:knob=value,…]`` with one worker, whose queue holds two windows."""
    spec = Spec.parse(text)
    ours = {"mask": f"{1 << WORKER_CORE:x}", "queue": "128"}
    return plan.read(Spec(spec.name, {**ours, **spec.args, **common}), NIC_CORE)


def attached(lab: Lab, text: str, units: Units | None = None, **common: str) -> Datapath:
    return Datapath(lab.target, planned(text, **common), units)
