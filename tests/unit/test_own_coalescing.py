"""Coalescing of ours: behind the plus, for whatever policy of ours stands before it."""

import pytest

from bench.bed import check
from bench.experiment import Placement
from bench.variant import Variant
from steering.coalescing.own import OWN, merged
from steering.errors import BadInput
from steering.plan import COMMON
from steering.spec import Spec

PLACEMENT = Placement(nic=0, workers=(0,), app=0)


@pytest.mark.parametrize(
    ("coalescing", "policy", "rest"),
    [
        ("cells", "backlog:cells=64", ()),
        ("cells:packets=8+nice:by=3", "backlog:cells=8,nice=3", ()),
        ("gro-list+nice", "backlog:nice=10", ("gro-list",)),
        ("gro-list", "backlog", ("gro-list",)),
    ],
)
def test_what_is_ours_becomes_a_knob(coalescing: str, policy: str, rest: tuple[str, ...]) -> None:
    specs = [Spec.parse(each) for each in coalescing.split("+")]
    steering, stock = merged(Spec.parse("backlog"), specs)
    assert steering == Spec.parse(policy)
    assert stock == tuple(map(Spec.parse, rest))


def test_each_sets_a_knob_that_there_is() -> None:
    assert {own.common for own in OWN.values()} <= set(COMMON)


@pytest.mark.parametrize(
    ("variant", "said"),
    [
        ("backlog+cells:packets=0", "packets=0 is out of range"),
        ("backlog+cells:depth=3", "depth"),
        ("backlog:nice=3+nice:by=4", "say one of them"),
        ("none+cells", "a policy of ours"),
        ("native/rps+nice:by=4", "a policy of ours"),
        ("backlog+cells+cells", "twice"),
    ],
)
def test_what_can_not_be(variant: str, said: str) -> None:
    with pytest.raises(BadInput, match=said) as error:
        check(Variant.parse(variant), PLACEMENT)
    assert "\n" not in str(error.value)
