"""The rules that machines can check: style, types, warnings, and the direction of imports."""

import ast
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from xdp import INCLUDE, SOURCES

ROOT = Path(__file__).resolve().parents[2]
STUBS = ROOT / "tests/lint"
PACKAGES = ("xdp", "steering", "prototype", "bench")
LONGEST_FILE = 400
# What steering.compile and its callers define; any value of the right kind.
DEFINES = (
    *("POLICY=<policy_stub.h>", "CORES=2", "SINK_LOG_ENTRIES=1024", "TCP_SINK_FLOWS=256"),
    *("HEADER_BYTES=116", "INNER_AT=64", "TCP_AT=84", "TUNNEL_PORT=4789"),
)
# Programs that use another's maps are compiled after it, as one text.
COMPANIONS = {
    "back.bpf.c": ["steer.bpf.c"],
    "deliver.bpf.c": ["steer.bpf.c"],
    "reconcile.bpf.c": ["steer.bpf.c", "deliver.bpf.c"],
    "cost.bpf.c": ["steer.bpf.c"],
    "tail.bpf.c": ["steer.bpf.c"],
    "polls.bpf.c": ["steer.bpf.c"],
    "switches.bpf.c": ["steer.bpf.c"],
}


def run(*command: str | Path) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("check", [["check"], ["format", "--check"]], ids=["rules", "format"])
def test_ruff_finds_nothing(check: list[str]) -> None:
    run(sys.executable, "-m", "ruff", *check, ".")


@pytest.mark.slow
def test_mypy_finds_nothing() -> None:
    run(sys.executable, "-m", "mypy")


@pytest.mark.parametrize("source", sorted(SOURCES.glob("*.c")), ids=lambda path: path.name)
def test_clang_warns_of_nothing(source: Path) -> None:
    clang = shutil.which("clang")
    if clang is None:
        pytest.skip("no clang: type 'make setup'")
    before = COMPANIONS.get(source.name, [])
    run(
        clang,
        *("-target", "bpf", "-std=gnu11", "-fsyntax-only", "-Wall", "-Werror"),
        *("-include", STUBS / "bcc_stub.h"),
        *(f"-D{define}" for define in DEFINES),
        *(f"-I{INCLUDE}", f"-I{STUBS}"),
        *("-idirafter", f"/usr/include/{sysconfig.get_config_var('MULTIARCH')}"),
        *(part for each in before for part in ("-include", SOURCES / each)),
        source,
    )


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def python_files() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def test_imports_point_one_way() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in python_files()
        for module in imported(path)
        if (package := module.split(".")[0]) in PACKAGES
        and PACKAGES.index(package) > PACKAGES.index(path.relative_to(ROOT).parts[0])
    ]
    assert not wrong


def test_files_stay_short() -> None:
    files = [*python_files(), *SOURCES.rglob("*.[ch]")]
    long = [path.name for path in files if len(path.read_text().splitlines()) > LONGEST_FILE]
    assert not long
