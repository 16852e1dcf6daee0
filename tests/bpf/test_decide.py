"""The kernel's half of a policy against its twin, packet by packet: slots, and what it remembers."""

import pytest

from prototype import trace
from prototype.decide import Decider
from prototype.twin import Twin
from steering import policy
from steering.spec import Spec


@pytest.mark.parametrize("name", ["local", "flowcell"])
def test_both_halves_decide_alike(name: str) -> None:
    found = policy.find(Spec.parse(name))
    knobs = {key: knob.default for key, knob in found.knobs.items()}
    twin = Twin(found)
    with Decider(found) as kernel:
        assert kernel.instructions is None or kernel.instructions > 500
        for kind in trace.KINDS:
            made = trace.make(kind, trace.KERNEL)
            here, there = twin.run(made, knobs), kernel.run(made, knobs)
            assert (here.slots == there.slots).all(), kind
            assert (here.flows, here.cores) == (there.flows, there.cores), kind
            assert here.workers == there.workers, kind
        assert there.slots.any() == (name != "local")


def test_knobs_and_states_are_this_runs_alone() -> None:
    """A run after another one begins anew, and no packet beyond the trace is decided on."""
    found = policy.find(Spec.parse("flowcell"))
    made = trace.make("one flow", 100)
    with Decider(found) as kernel:
        first = kernel.run(made, {"cell": 3, "local": 50})
        assert kernel.run(made.first(10), {"cell": 100, "local": 0}).slots.tolist() == [1] * 10
        again = kernel.run(made, {"cell": 3, "local": 50})
        assert (first.slots == again.slots).all() and first.flows == again.flows
        with pytest.raises(ValueError, match="the kernel's half takes 10000"):
            kernel.run(trace.make("one flow", trace.KERNEL + 1), {"cell": 3, "local": 50})
