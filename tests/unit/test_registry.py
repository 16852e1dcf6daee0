"""Policies by name and by path; what is wrong with one is said in one line."""

from pathlib import Path

import pytest

from steering import registry
from steering.errors import BadInput
from steering.layout import header
from steering.policy import VERSION
from steering.spec import Spec

GOOD = """
from steering.policy import Knob, Order, Policy

POLICY = Policy(
    summary="one's own", order=Order.CELL, knobs={"cell": Knob(8, 1, 64, "packets", "length")},
    good="here", drowns="there",
)
"""


def written(folder: Path, python: str = GOOD, c: str | None = "/* the decision */") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "policy.py").write_text(python)
    if c is not None:
        (folder / "policy.h").write_text(c)
    return folder


@pytest.mark.parametrize("name", registry.names())
def test_every_policy_on_the_shelf_is_whole(name: str) -> None:
    policy = registry.find(Spec.parse(name))
    assert policy.name == name
    assert policy.header.is_file()
    for words in (policy.summary, policy.good, policy.drowns):
        assert words and "\n" not in words
    for knob in policy.knobs.values():
        assert 0 <= knob.low <= knob.default <= knob.high < 1 << 32
        assert knob.unit and knob.help
    # The C half opens with what the policy is, and its text says what it promises.
    opening = policy.header.read_text().split("*/")[0]
    assert f" {name}: " in opening
    for word in ("Order:", "Good:", "Drowns:", "Cost:"):
        assert word in opening


def test_what_the_issue_names_is_on_the_shelf() -> None:
    assert {"local", "pin", "roundrobin", "flowcell", "backlog"} <= set(registry.names())


def test_one_version_of_the_contract() -> None:
    assert header("policy.h").constants["POLICY_VERSION"] == VERSION


def test_a_policy_anywhere(tmp_path: Path) -> None:
    folder = written(tmp_path / "mine")
    policy = registry.find(Spec.parse(f"@{folder}:cell=9"))
    assert (policy.name, policy.folder, policy.order) == ("mine", folder, "cell")
    assert policy.values({"cell": "9"}) == {"cell": 9}


def test_a_path_from_here_or_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = written(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for text in ("@mine", "@./mine", "@~/mine", "@mine/"):
        policy = registry.find(Spec.parse(text))
        assert (policy.name, policy.folder) == ("mine", folder)


def test_two_of_one_name_stay_apart(tmp_path: Path) -> None:
    one, other = tmp_path / "a", tmp_path / "b"
    for place, summary in ((one, "first"), (other, "second")):
        place.mkdir()
        written(place / "mine", GOOD.replace("one's own", summary))
    found = [registry.load(place / "mine").summary for place in (one, other)]
    assert found == ["first", "second"]


def test_unknown_name_lists_the_shelf() -> None:
    with pytest.raises(BadInput, match="unknown policy 'backlogg': choose from adaptive, apart"):
        registry.find(Spec.parse("backlogg"))


@pytest.mark.parametrize(
    ("python", "c", "words"),
    [
        (GOOD, None, "policy.h is missing"),
        ("", "x", "defines no POLICY"),
        ("POLICY = 7", "x", "defines no POLICY"),
        ("import nowhere", "x", "ModuleNotFoundError"),
        ("1 / 0", "x", "ZeroDivisionError: division by zero"),
        ("def (", "x", "SyntaxError"),
        ("raise SystemExit(0)", "x", "SystemExit"),
        (GOOD.replace("summary=", "sumary="), "x", "sumary"),
        (GOOD.replace("drowns=", "version=2, drowns="), "x", "version 2 of the contract"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, python: str, c: str | None, words: str) -> None:
    folder = written(tmp_path / "mine", python, c)
    with pytest.raises(BadInput, match=words) as caught:
        registry.find(Spec.parse(f"@{folder}"))
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)


def test_no_folder_at_all(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no policy in '.*nowhere': policy.py is missing"):
        registry.find(Spec.parse(f"@{tmp_path}/nowhere"))


def test_a_changed_decision_has_another_digest(tmp_path: Path) -> None:
    folder = written(tmp_path / "mine")
    before = registry.load(folder).digest
    assert registry.load(folder).digest == before
    written(folder, c="/* another decision */")
    changed = registry.load(folder).digest
    written(folder, GOOD.replace('"cell"', '"run"'), c="/* another decision */")
    assert len({before, changed, registry.load(folder).digest}) == 3
