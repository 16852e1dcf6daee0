"""Files written whole or not at all, where there is no room for them."""

import errno
import os
import resource
from pathlib import Path

import pytest
import typer

import bench.cli
from bench.results import Results
from steering import files
from steering.errors import OversprayError


def test_what_does_not_fit_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    files.append(path, b"one\n")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6, hard))  # two bytes of the next still go in
    try:
        with pytest.raises(OversprayError, match="what it held before is kept"):
            files.append(path, b"second\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"one\n"
    files.append(path, b"three\n")
    assert path.read_bytes() == b"one\nthree\n"


def test_a_full_disk_is_one_line() -> None:
    with pytest.raises(OversprayError, match="write '/dev/full': No space left on device"):
        files.append(Path("/dev/full"), b"x")


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    files.replace(path, "old")
    files.replace(path, "new")
    assert (path.read_text(), [*tmp_path.iterdir()]) == ("new", [path])
    with pytest.raises(OversprayError, match="No such file"):
        files.replace(tmp_path / "nowhere/facts.json", "x")


def test_fingerprints_of_a_full_disk_leave_nothing_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = Results.begin(tmp_path / "run", "")

    def full(self: Path, text: str) -> int:
        self.open("w").close()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OversprayError, match="No space left"):
        results.add_fingerprint("before", {"cpu": "x"})
    assert Results.open(tmp_path / "run").fingerprints("before") == []


def test_no_command_shows_a_traceback_for_a_full_disk(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    app = typer.Typer()

    @app.command()
    def write() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(bench.cli, "build", lambda: app)
    assert bench.cli.run([]) == 1
    assert capsys.readouterr().err.startswith("overspray: No space left on device")
