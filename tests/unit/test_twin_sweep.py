"""Sweeps: every combination once, resumed where they stopped, the same here and on a cluster."""

import json
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.cli import run as overspray
from prototype.costs import reference
from prototype.sweep import SAMPLES, Folder, Sweep
from prototype.sweep_plots import draw, longest_axis
from steering.errors import BadInput

TEXT = """
name = "small"
title = "Two policies on two machines"
variants = ["docker/local", "docker/backlog+gro-list"]
cores = [2, 4]
rate = ["max", 500000]
seconds = 0.005
seed = 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(TEXT)
    return path


@pytest.fixture
def here() -> Iterator[Executor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def test_every_combination_is_run_once(file: Path, tmp_path: Path, here: Executor) -> None:
    folder = Folder.create(tmp_path / "a", file, reference())
    told: list[int] = []
    folder.run(here, told.append)
    samples = folder.samples()
    assert told == list(range(1, 9))
    assert [row["key"] for row in samples] == [point.key for point in folder.sweep.points()]
    assert len({row["key"] for row in samples}) == 8
    assert all(row["source"] == "twin" and row["unaccounted"] == 0 for row in samples)
    assert folder.missing() == []


def test_it_goes_on_where_it_stopped(file: Path, tmp_path: Path, here: Executor) -> None:
    folder = Folder.create(tmp_path / "a", file, reference())
    folder.run(here)
    whole = folder.samples()
    lines = (folder.path / SAMPLES).read_text().splitlines(True)
    (folder.path / SAMPLES).write_text("".join(lines[:3]) + lines[3][:40])
    again = Folder.open(folder.path)
    assert len(again.missing()) == 5
    again.run(here)
    assert again.samples() == whole


def test_a_cluster_says_the_same(file: Path, tmp_path: Path, here: Executor) -> None:
    import distributed

    folder = Folder.create(tmp_path / "a", file, reference())
    folder.run(here)
    local = {"n_workers": 1, "threads_per_worker": 2, "processes": False, "protocol": "tcp"}
    with distributed.LocalCluster(dashboard_address=None, **local) as cluster:
        out = tmp_path / "b"
        arguments = [str(file), "--cluster", cluster.scheduler_address, "--out", str(out)]
        assert overspray(["twin", "sweep", *arguments]) == 0
    [there] = out.iterdir()
    assert Folder.open(there).samples() == folder.samples()
    assert {path.name for path in (there / "plots").iterdir()} == {
        "throughput.svg",
        "order.svg",
        "latency.svg",
    }


def test_plots_say_what_nobody_has_measured(file: Path, tmp_path: Path, here: Executor) -> None:
    folder = Folder.create(tmp_path / "a", file, reference())
    folder.run(here)
    assert longest_axis(folder.samples()) == "cores"
    text = [path.read_text() for path in draw(folder.samples(), "title", tmp_path / "plots")]
    assert all("simulated" in each and "not validated" in each for each in text)


def test_processes_on_every_core(file: Path, tmp_path: Path) -> None:
    """The command itself, without a cluster."""
    out = tmp_path / "c"
    assert overspray(["twin", "sweep", str(file), "--out", str(out), "--json"]) == 0
    [folder] = out.iterdir()
    assert len(Folder.open(folder).samples()) == 8


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("cores = [2, 4]", "cores = [0]"),
        ("cores = [2, 4]", "cores = [500]"),
        ("cores = [2, 4]", "cores = []"),
        ('"docker/local"', '"docker/nonesuch"'),
        ("seed = 3", "seed = 3\nspeed = 4"),
        ("seconds = 0.005", "seconds = 0"),
        ("title =", "title =".upper()),
        ("[2, 4]", "[2, 4"),
    ],
)
def test_a_bad_file_is_told_in_one_line(change: str, said: str) -> None:
    with pytest.raises(BadInput) as error:
        Sweep.parse(TEXT.replace(change, said), "small.toml")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "arguments",
    [[], ["nowhere.toml"], ["--resume", "nowhere"], ["x.toml", "--resume", "y"]],
)
def test_bad_input_is_one_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert overspray(["twin", "sweep", *arguments, "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_damaged_line_is_named(file: Path, tmp_path: Path) -> None:
    folder = Folder.create(tmp_path / "a", file, reference())
    (folder.path / SAMPLES).write_text(json.dumps({"no": "key"}) + "\n")
    with pytest.raises(BadInput, match="line 1: damaged"):
        folder.samples()
