"""What lab tests of traffic share."""

from bench.lab import Lab
from steering import cores, plan
from steering.datapath import Datapath, Units
from steering.plan import Plan
from steering.spec import Spec

NIC_CORE, WORKER_CORE = cores.usable()[0], cores.usable()[-1]
"""The wire's, and the only worker's: tests use two cores, however many there are."""


def planned(text: str, **common: str) -> Plan:
    """The plan of ``POLICY[:knob=value,…]`` with one worker, whose queue holds two windows."""
    spec = Spec.parse(text)
    ours = {"mask": f"{1 << WORKER_CORE:x}", "queue": "128"}
    return plan.read(Spec(spec.name, {**ours, **spec.args, **common}), NIC_CORE)


def attached(lab: Lab, text: str, units: Units | None = None, **common: str) -> Datapath:
    return Datapath(lab.target, planned(text, **common), units)
