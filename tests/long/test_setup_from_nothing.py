"""The whole set-up in a fresh clone, with the network: what the README's two commands do."""

import os
import subprocess
from pathlib import Path

import pytest
from commands import ROOT

from steering.waiting import wait_for

pytestmark = pytest.mark.timeout(600)


def made(clone: Path, *goal: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["make", *goal],
        cwd=clone,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=500,
    )


def test_a_clone_is_set_up_whatever_python_comes_first(tmp_path: Path) -> None:
    """As with pyenv's shims, and with somebody else's virtual environment switched on."""
    clone, shims = tmp_path / "clone", tmp_path / "shims"
    subprocess.run(["git", "clone", "-q", ROOT, clone], check=True)
    shims.mkdir()
    for name in ("python", "python3", "pip"):
        (shims / name).write_text("#!/bin/sh\necho 'the wrong python' >&2; exit 1\n")
        (shims / name).chmod(0o755)
    astray = {
        "PATH": f"{shims}:{os.environ['PATH']}",
        "VIRTUAL_ENV": str(tmp_path),
        "PYTHONPATH": str(shims),
        "PIP_USER": "1",
    }
    done = made(clone, "setup", **astray)
    assert done.returncode == 0, done.stderr
    assert [line.split()[1] for line in done.stderr.splitlines()] == ["making", "installing", "installing"]
    again = made(clone, "setup", **astray)
    assert (again.returncode, again.stderr) == (0, "")
    said = subprocess.run([clone / ".venv/bin/overspray", "doctor", "--json"], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr


def test_an_interrupted_set_up_goes_on(tmp_path: Path) -> None:
    """Killed in the midst of pip: what looks whole may be half, so it begins anew."""
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", ROOT, clone], check=True)
    process = subprocess.Popen(
        ["setup/install"], cwd=clone, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    with process:
        wait_for((clone / ".venv/half-made").exists, "pip to be at work", 120)
        process.kill()
    done = made(clone, "setup")
    assert done.returncode == 0, done.stderr
    assert "making .venv" in done.stderr
    lock = made(clone, "test", ARGS="tests/unit/test_lock.py")
    assert lock.returncode == 0, lock.stdout
