"""The rules that machines can check: style, types, file sizes, and the direction of imports."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("xdp", "steering", "prototype", "bench")
"""Each may import from itself and from those before it."""
LONGEST_FILE = 400


def lint(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("check", [["check"], ["format", "--check"]], ids=["rules", "format"])
def test_ruff_finds_nothing(check: list[str]) -> None:
    lint("ruff", *check, "--no-cache", ".")


def test_mypy_finds_nothing() -> None:
    lint("mypy")


def sources() -> list[Path]:
    kept = [path for room in (*ROOMS, "tests", "setup") for path in (ROOT / room).rglob("*")]
    return [path for path in kept if path.suffix in (".py", ".c", ".h", "") and path.is_file()]


def test_files_are_short() -> None:
    long = {str(path): n for path in sources() if (n := len(path.read_text().splitlines())) > LONGEST_FILE}
    assert not long


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("room", ROOMS)
def test_imports_point_one_way(room: str) -> None:
    above = set(ROOMS[ROOMS.index(room) + 1 :])
    wrong = {
        str(path.relative_to(ROOT)): found
        for path in (ROOT / room).rglob("*.py")
        if (found := above & set(imported(path)))
    }
    assert not wrong


def test_every_header_states_its_contract() -> None:
    for path in (ROOT / "xdp/include").glob("*.h"):
        assert "Contract:" in path.read_text().partition("#ifndef")[0], path.name
