"""The model as the bench's second backend: the same files in, the same results out, marked."""

import json
from pathlib import Path

import pytest

from bench.cli import run as overspray
from bench.report import Report, markdown
from bench.results import Results

TEXT = """
name = "both"
title = "What the lab could run as well"
question = "none"
seconds = 0.01
warmup = 0.002
rounds = 2
seed = 5
baselines = ["none"]
plots = ["throughput"]

[matrix]
payload = [18]
rate = ["max", 200000, "best"]
arrivals = ["constant:batch=64,us=20"]

[[groups]]
cases = ["docker"]
variants = ["none", "rps:mask=2", "backlog+gro-list"]
"""


def simulated(text: str, tmp_path: Path, *more: str) -> int:
    file = tmp_path / "both.toml"
    file.write_text(text)
    return overspray(["bench", str(file), "--twin", "--out", str(tmp_path / "out"), *more])


def test_an_experiment_is_simulated_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulated(TEXT, tmp_path) == 0
    assert "twin, simulated" in capsys.readouterr().out
    [folder] = (tmp_path / "out").iterdir()
    results = Results.open(folder)
    samples = results.samples()
    assert len(samples) == 3 * 3 * 2
    assert {sample.source for sample in samples} == {"twin"}
    assert all(sample.unaccounted == 0 and not sample.invalid for sample in samples)
    light = [s for s in samples if ", 200000 pps," in s.point and "backlog" in s.variant]
    assert [s.rate_pps for s in light] == pytest.approx([200_000] * 2, rel=0.05)
    assert "docker/backlog+gro-list" in markdown(Report(results))


def test_the_same_seed_gives_the_same_result(tmp_path: Path) -> None:
    found = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        assert simulated(TEXT, tmp_path / name) == 0
        [folder] = (tmp_path / name / "out").iterdir()
        rows = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
        found.append([{k: v for k, v in row.items() if k != "started"} for row in rows])
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"none", "rps', '"stock-best", "rps'),
        ('"none", "rps', '"none+defer", "rps'),
        ("payload = [18]", 'payload = [18]\nneighbour = ["spin"]'),
        ("payload = [18]", 'payload = [18]\ntraffic = ["tcp"]\nsink = ["trunc"]'),
    ],
)
def test_what_the_model_does_not_have_is_one_line(
    old: str, new: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = TEXT.replace(old, new).replace('baselines = ["none"]', 'baselines = ["rps:mask=2"]')
    if "tcp" in new:
        text = text.replace('arrivals = ["constant:batch=64,us=20"]\n', "")
    assert simulated(text, tmp_path) == 2
    *_, error = capsys.readouterr().err.splitlines()
    assert error.startswith("overspray: "), error
