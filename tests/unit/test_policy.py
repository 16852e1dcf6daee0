"""Knobs: what may be written, and the C struct that comes of them."""

import pytest

from steering.errors import BadInput
from steering.policy import Knob, Need, Order, Policy, read_knobs

CELL = Knob(64, 1, 4096, "packets", "length of a cell")
KNOBS = {"cell": CELL, "local": Knob(50, 0, 100, "%", "share")}


def policy(**changes: object) -> Policy:
    fields = {"summary": "s", "order": Order.CELL, "knobs": KNOBS, "good": "g", "drowns": "d"}
    return Policy(**{**fields, "name": "mine", **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(("text", "value"), [("1", 1), ("4096", 4096), ("0x40", 64), ("0b11", 3)])
def test_a_value(text: str, value: int) -> None:
    assert CELL.read("cell", text) == value


@pytest.mark.parametrize("text", ["0", "4097", "-1", "99999999999999999999"])
def test_out_of_range_says_the_range_and_the_unit(text: str) -> None:
    with pytest.raises(BadInput, match=f"cell={text} is out of range: 1 to 4096 packets"):
        CELL.read("cell", text)


@pytest.mark.parametrize("text", ["", "many", "1.5", "0x", "1e3", "½"])
def test_no_number(text: str) -> None:
    with pytest.raises(BadInput, match="a number in packets is wanted"):
        CELL.read("cell", text)


def test_what_is_not_written_is_the_default() -> None:
    assert policy().values({}) == {"cell": 64, "local": 50}
    assert policy().values({"local": "0"}) == {"cell": 64, "local": 0}


def test_an_unknown_knob_lists_those_there_are() -> None:
    words = "unknown knob of policy 'mine' 'cel': choose from cell, local"
    with pytest.raises(BadInput, match=words):
        policy().values({"cel": "1"})
    with pytest.raises(BadInput, match="choose from none"):
        read_knobs("policy 'mine'", {}, {"cell": "1"})


def test_the_struct_in_c() -> None:
    assert policy().knobs_header() == (
        "#define POLICY_NEEDS_TIME 0\n"
        "#define POLICY_NEEDS_CLEAR 0\n"
        "#define POLICY_NEEDS_PRESSURE 0\n"
        "#define POLICY_NEEDS_YIELDS 0\n"
        "struct knobs {\n\t__u32 cell; /* packets */\n\t__u32 local; /* % */\n};\n"
    )


def test_a_struct_is_never_empty() -> None:
    text = policy(knobs={}).knobs_header()
    assert text.endswith("struct knobs {\n\t__u32 none;\n};\n")


def test_what_is_needed_is_said_in_c() -> None:
    text = policy(needs=frozenset({Need.TIME})).knobs_header()
    assert "#define POLICY_NEEDS_TIME 1\n#define POLICY_NEEDS_CLEAR 0\n" in text
