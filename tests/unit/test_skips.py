"""The rule of tests/conftest.py: in CI a skip is a failure, unless the host truly cannot run it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"
SUITE = """
import pytest
{module}
def test_skipped(): pytest.skip({reason!r})
@pytest.mark.xfail
def test_expected(): assert False
"""


def outcome(folder: Path, reason: str, module: str = "", ci: str = "true") -> int:
    """Exit code of pytest on a suite that skips for ``reason``."""
    shutil.copy(CONFTEST, folder)
    (folder / "test_it.py").write_text(SUITE.format(reason=reason, module=module))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", folder]
    environment = {**os.environ, "CI": ci}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True).returncode


@pytest.mark.parametrize(
    ("reason", "ci", "code"),
    [("host cannot: fly", "true", 0), ("no clang", "true", 1), ("no clang", "", 0)],
)
def test_a_skip(reason: str, ci: str, code: int, tmp_path: Path) -> None:
    assert outcome(tmp_path, reason, ci=ci) == code


def test_a_skipped_module(tmp_path: Path) -> None:
    module = "pytest.skip('no numba', allow_module_level=True)"
    assert outcome(tmp_path, "host cannot: fly", module) != 0
