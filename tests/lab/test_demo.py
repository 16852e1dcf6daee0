"""``overspray demo``: every file is there, and nothing is overwritten."""

import json
from pathlib import Path

import pytest
from commands import overspray

from bench.cli import run
from bench.demo import VARIANTS
from bench.results import load


def test_it_keeps_samples_fingerprints_table_and_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    done = overspray("demo", "--rounds", "1", "--seconds", "0.01", "--out", str(out), "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [row["variant"] for row in found["rows"]] == [*VARIANTS]
    assert [each["verdict"] for each in found["comparisons"]] == ["inconclusive"] * 4
    kept = load(out)
    assert sorted(sample["variant"] for sample in kept.samples) == sorted(VARIANTS)
    assert all(sample["invalid"] == [] for sample in kept.samples)
    assert "about " in done.stderr and "round 1/1: " in done.stderr
    assert {path.name for path in out.iterdir()} == {
        *("experiment.json", "samples.jsonl", "fingerprint-before.json", "fingerprint-after.json"),
        *("table.md", "rates.png", "rates.svg"),
    }
    assert run(["demo", "--out", str(out)]) == 2
    assert "is not empty, and results are never overwritten" in capsys.readouterr().err
