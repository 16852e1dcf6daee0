"""The lock file: complete, within the bounds of pyproject.toml, and what is installed here."""

import tomllib
from importlib.metadata import requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKED = {
    canonicalize_name(name): pinned
    for line in (ROOT / "setup/lock.txt").read_text().splitlines()
    if not line.startswith("#")
    for name, pinned in [line.split("==")]
}


def applying(lines: list[str]) -> list[Requirement]:
    """The requirements that hold here, without those of extras."""
    found = [Requirement(line) for line in lines]
    return [each for each in found if not each.marker or each.marker.evaluate({"extra": ""})]


def asked_for() -> list[Requirement]:
    return applying([*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]])


def test_what_the_project_asks_for_has_bounds_and_is_locked_within_them() -> None:
    for each in asked_for():
        assert {bound.operator for bound in each.specifier} == {">=", "<"}, each
        assert LOCKED[canonicalize_name(each.name)] in each.specifier, each


def test_it_is_complete() -> None:
    """Nothing is left for pip to resolve."""
    for name in LOCKED:
        for each in applying(requires(name) or []):
            assert LOCKED.get(canonicalize_name(each.name), "none") in each.specifier, f"{name} wants {each}"


def test_it_holds_nothing_that_nobody_asks_for() -> None:
    wanted, seen = [each.name for each in asked_for()], set()
    while wanted:
        name = canonicalize_name(wanted.pop())
        if name not in seen:
            seen.add(name)
            wanted += [each.name for each in applying(requires(name) or [])]
    assert set(LOCKED) == seen


def test_it_is_what_is_installed() -> None:
    assert {name: version(name) for name in LOCKED} == LOCKED
