"""What the policies of the shelf decide, each against its definition, in user space."""

import numpy as np
import pytest

from prototype import trace
from prototype.trace import Trace
from prototype.twin import Replay, Twin
from steering import policy
from steering.spec import Spec


def run(text: str, made: Trace) -> Replay:
    """``NAME[:KNOB=VALUE,…]`` on a trace, the other knobs at their defaults."""
    spec = Spec.parse(text)
    found = policy.find(spec)
    knobs = {key: int(spec.args.get(key, knob.default)) for key, knob in found.knobs.items()}
    return Twin(found).run(made, knobs)


@pytest.mark.parametrize("local", [0, 1])
def test_hash_is_a_share_of_the_hashes_for_each_slot(local: int) -> None:
    made = trace.make("three workers", 5000)
    slots = run(f"hash:local={local}", made).slots
    many = 3 + local
    assert (slots == 1 - local + (made.packets["hash"].astype(np.uint64) * many >> 32)).all()
    assert {*slots.tolist()} == {*range(1 - local, 4)}
    assert not run(f"hash:local={local}", trace.make("no worker", 100)).slots.any()
