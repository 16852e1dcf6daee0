"""One lab at a time: who holds the lock is said, and it is let go of however its holder ends."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import exclusive
from bench.exclusive import holder, lab_lock
from steering.errors import OversprayError


@pytest.fixture(autouse=True)
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(exclusive, "LOCK", tmp_path / "run/lab.lock")
    return tmp_path / "run/lab.lock"


@pytest.fixture
def other(lock: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that holds the lock until its stdin closes."""
    code = (
        f"import sys, pathlib; from bench import exclusive; exclusive.LOCK = pathlib.Path({str(lock)!r})\n"
        "with exclusive.lab_lock(): print('held', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_holder_is_named() -> None:
    with lab_lock():
        assert f"process {os.getpid()} (" in holder()
    assert holder() == ""


def test_a_second_one_is_told_who_holds_it(other: "subprocess.Popen[str]") -> None:
    with pytest.raises(OversprayError, match=f"in use by process {other.pid} "), lab_lock():
        pass


def test_a_second_one_in_this_process_does_not_wait_for_itself() -> None:
    with lab_lock(), pytest.raises(OversprayError, match=f"process {os.getpid()} "), lab_lock():
        pass


def test_a_killed_holder_holds_it_no_more(other: "subprocess.Popen[str]") -> None:
    other.kill()
    other.wait()
    with lab_lock():
        assert f"process {os.getpid()} (" in holder()


def test_an_error_inside_lets_go_of_it() -> None:
    with pytest.raises(ZeroDivisionError), lab_lock():
        raise ZeroDivisionError
    assert holder() == ""
    with lab_lock():
        pass


def test_a_place_that_cannot_be_written_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exclusive, "LOCK", Path("/proc/overspray/lab.lock"))
    with pytest.raises(OversprayError, match="can't open /proc/overspray"), lab_lock():
        pass
