"""The text forms of specs and variants: round trips, and one line for what is not of the form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.variant import CASES, STOCK_STEERING, Variant
from steering.errors import BadInput
from steering.spec import Spec
from steering.stock import STEERING

names = st.one_of(
    st.from_regex(r"[a-z][a-z0-9-]{0,12}", fullmatch=True),
    st.from_regex(r"@[a-zA-Z0-9_./=,-]{1,20}", fullmatch=True),
)
arguments = st.dictionaries(
    st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True),
    st.from_regex(r"[A-Za-z0-9_.-]{1,8}", fullmatch=True),
    max_size=4,
)
specs = st.builds(Spec, names, arguments)
variants = st.builds(
    Variant,
    st.sampled_from(CASES),
    specs,
    st.lists(specs, max_size=3, unique_by=lambda spec: spec.name).map(tuple),
)


@given(specs)
def test_a_spec_is_read_back_from_its_text(spec: Spec) -> None:
    assert Spec.parse(str(spec)) == spec


@given(variants)
def test_a_variant_is_read_back_from_its_text(variant: Variant) -> None:
    again = Variant.parse(str(variant))
    assert again == variant
    assert hash(again) == hash(variant)


def test_order_of_arguments_does_not_matter() -> None:
    one, other = Spec.parse("backlog:cell=64,limit=192"), Spec.parse("backlog:limit=192,cell=64")
    assert one == other
    assert str(one) == str(other) == "backlog:cell=64,limit=192"


@pytest.mark.parametrize(
    ("text", "full", "family", "label"),
    [
        ("none", "docker/none", "stock", "none"),
        ("native/none+gro-list", "native/none+gro-list", "native", "none +gro-list"),
        ("rps-vxlan:mask=2", "docker/rps-vxlan:mask=2", "stock", "rps-vxlan mask=2"),
        ("flannel/local+gro-list", "flannel/local+gro-list", "ours", "local +gro-list"),
        ("@mine/greedy:x=1", "docker/@mine/greedy:x=1", "ours", "@greedy x=1"),
        ("linux/@/opt/greedy", "linux/@/opt/greedy", "ours", "@greedy"),
        (
            "backlog:cell=64+gro-list+threaded:nice=5",
            "docker/backlog:cell=64+gro-list+threaded:nice=5",
            "ours",
            "backlog cell=64 +gro-list +threaded nice=5",
        ),
    ],
)
def test_reading(text: str, full: str, family: str, label: str) -> None:
    variant = Variant.parse(text)
    assert str(variant) == full
    assert variant.family == family
    assert variant.label == label


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("podman/none", "unknown case 'podman': choose from docker, flannel, linux, native"),
        ("/none", "unknown case ''"),
        ("docker/", "is no variant"),
        ("", "is no variant"),
        ("none+", "is no variant"),
        ("none++gro", "is no variant"),
        ("none+gro+gro", "stands twice"),
        ("backlog:cell", "is not KEY=VALUE"),
        ("backlog:", "is not KEY=VALUE"),
        ("backlog:cell=1,cell=2", "stands twice"),
        ("backlog:cell=", "is no value"),
        ("backlog:Cell=1", "is no key"),
        ("Backlog", "is no name"),
        ("@", "is no name"),
    ],
)
def test_bad_text_is_one_line(text: str, message: str) -> None:
    with pytest.raises(BadInput, match=message) as error:
        Variant.parse(text)
    assert "\n" not in str(error.value)


def test_families_know_all_of_stock_steering() -> None:
    assert set(STOCK_STEERING) == {*STEERING, "stock-best"}
