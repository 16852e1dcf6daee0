"""The text form in which policies and stock settings are named."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steering.errors import BadInput
from steering.spec import Spec

NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,8}|@[^\s:+]{1,8}", fullmatch=True)
ARGS = st.dictionaries(
    st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True),
    st.from_regex(r"[A-Za-z0-9_.-]{1,8}", fullmatch=True),
    max_size=3,
)


@settings(derandomize=True, deadline=None, database=None)
@given(NAMES, ARGS)
def test_a_spec_is_read_as_it_is_written(name: str, args: dict[str, str]) -> None:
    spec = Spec(name, args)
    assert Spec.parse(str(spec)) == spec


def test_the_order_of_arguments_is_of_no_account() -> None:
    one, other = Spec.parse("rps:mask=2,netfilter=1"), Spec.parse(" rps:netfilter=1,mask=2 ")
    assert one == other and hash(one) == hash(other) and str(one) == str(other) == "rps:mask=2,netfilter=1"
    assert one != Spec.parse("rps:mask=3,netfilter=1")


def test_a_path_is_ones_own_policy() -> None:
    assert Spec.parse("@../mine:cells=8").path == "../mine"
    assert Spec.parse("flowcell").path is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is no name: write NAME"),
        ("RPS", "'RPS' is no name"),
        ("@", "'@' is no name"),
        ("rps vxlan", "'rps vxlan' is no name"),
        ("rps:", "'' in 'rps:' is not KEY=VALUE: write NAME"),
        ("rps:mask", "'mask' in 'rps:mask' is not KEY=VALUE"),
        ("rps:mask=", "'' for 'mask' in 'rps' is no value: letters"),
        ("rps:mask=2,mask=3", "'mask' stands twice in 'rps:mask=2,mask=3'"),
        ("rps:Mask=2", "'Mask' in 'rps' is no key: small letters"),
        ("rps:mask=2+gro", r"'2\+gro' for 'mask' in 'rps' is no value"),
    ],
)
def test_what_is_no_spec_is_refused(text: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Spec.parse(text)
