"""What a person mistypes is one line that names it and what is allowed; exit code 2, no change."""

import os
import shutil
from pathlib import Path

import pytest

from bench.cli import run

GOLDEN = Path(__file__).parents[1] / "golden" / "single_flow"
MINIMAL = """
name = "small"
title = "A small one"
question = "?"
baselines = ["none"]
groups = [{cases = ["docker"], variants = ["none", "local"]}]
"""


@pytest.fixture(autouse=True)
def nothing_changes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A bed, or a probe of the host, is more than bad input may lead to."""

    def touched(*_: object, **__: object) -> None:
        raise AssertionError("the host is touched before the input is checked")

    monkeypatch.setattr("bench.bed.Bed.__init__", touched)
    monkeypatch.setattr("steering.doctor.require", touched)
    monkeypatch.chdir(tmp_path)


def complaint(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert run(arguments) == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err.count("\n") == 1
    return streams.err


@pytest.mark.parametrize(
    ("arguments", "named", "allowed"),
    [
        (["docker/none", "docker/sprinkle"], "sprinkle", "backlog"),
        (["docker/none", "docker/backlog:cel=3"], "cel", "cell"),
        (["docker/none", "docker/backlog:cell=0"], "cell=0", "1 to 4096"),
        (["docker/none", "podman/none"], "podman", "flannel"),
        (["docker/none", "docker/none+gro-lost"], "gro-lost", "gro-list"),
        (["docker/none", "docker/rps:mask=100000"], "mask=100000", "not here"),
        (["docker/none", "docker/backlog:mask=100000"], "core", "choose from"),
        (["docker/none", "native/backlog"], "native", "tunnel"),
        (["none", "local", "--sink", "sieve"], "sieve", "count"),
        (["none", "local", "--traffic", "sctp"], "sctp", "udp"),
        (["none", "local", "--arrivals", "tides"], "tides", "poisson"),
        (["none", "local", "--neighbour", "noisy"], "noisy", "spin"),
        (["none", "local", "--neighbour", "chase:kib=0"], "kib=0", "4 to 1048576"),
        (["none", "local", "--payload", "3"], "payload 3", "at least 18"),
        (["none", "local", "--rate", "fast"], "fast", "search"),
        (["none", "local", "--nic-core", "4095"], "4095", "choose from"),
        (["none", "local", "--workers", "1,4095"], "4095", "choose from"),
        (["none", "local", "--app", "4095"], "4095", "choose from"),
        (["none", "local", "--workers", "one"], "one", "0,2-5"),
        (["none", "local", "--metric", "beauty"], "beauty", "rate"),
        (["none", "local", "--containers", "81"], "81", "80"),
        (["none", "local", "--mtu", "90000"], "90000", "3504"),
        (["none", "local", "--outer", "5"], "5", "6"),
        (["none", "local", "--loss", "1.5"], "loss", "0.99"),
        (["none"], "'b'", "--help"),
    ],
)
def test_ab(
    arguments: list[str], named: str, allowed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("host cannot: spread over one core")
    line = complaint(["ab", *arguments], capsys)
    assert named in line
    assert allowed in line


@pytest.mark.parametrize(
    ("text", "named", "allowed"),
    [
        (MINIMAL.replace("question", "quest"), "quest", "question"),
        (MINIMAL + "matrix.paylod = [18]", "paylod", "payload"),
        (MINIMAL.replace('"local"', '"lokal"'), "lokal", "local"),
        (MINIMAL.replace('"local"', '"local:cell=3"'), "cell", "mask"),
        (MINIMAL + "placement.nic = 4095", "4095", "choose from"),
        (MINIMAL + 'matrix.sink = ["sieve"]', "sieve", "count"),
        (MINIMAL + 'matrix.neighbour = ["noisy"]', "noisy", "stream"),
        ("name = ", "not TOML", ""),
    ],
)
def test_experiment(
    text: str, named: str, allowed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "x.toml"
    file.write_text(text)
    line = complaint(["bench", str(file)], capsys)
    assert named in line
    assert allowed in line
    assert [path.name for path in tmp_path.iterdir()] == ["x.toml"]


def test_experiment_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert "nowhere.toml" in complaint(["bench", "nowhere.toml"], capsys)


def test_dry_run_lists_and_touches_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.toml").write_text(MINIMAL)
    assert run(["bench", "x.toml", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "docker/local" in out
    assert "20 runs" in out
    assert [path.name for path in tmp_path.iterdir()] == ["x.toml"]


def test_stock_best_of_a_case_that_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert "flannel" in complaint(["stock-best", "--case", "podman"], capsys)


@pytest.mark.parametrize("damage", ["{", '{"version": 1}', '{"version": 99}'])
def test_damaged_result(damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "damaged"
    shutil.copytree(GOLDEN, copy)
    with (copy / "samples.jsonl").open("a") as stream:
        stream.write(damage + "\n")
    assert "samples.jsonl, line" in complaint(["report", str(copy)], capsys)


def test_resuming_what_is_no_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.toml").write_text(MINIMAL)
    assert "'nowhere'" in complaint(["report", "nowhere"], capsys)
