"""What lab tests of traffic share."""

from bench.lab import Lab
from bench.sink import Sink
from bench.wire import Wire
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


def accounted(sink: Sink, datapath: Datapath, wire: Wire, before: dict[str, int]) -> tuple[int, int]:
    """Packets that arrived, or were lost by a name of ours; and those that the NIC's ring has lost since."""
    drops = datapath.totals().drops.values()
    return (
        sink.delivered + sum(sum(names.values()) for names in drops),
        wire.counts()["drop_ring"] - before["drop_ring"],
    )
