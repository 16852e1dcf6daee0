"""``overspray demo`` with fewer variants: every file is there, and nothing is overwritten."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import demo
from bench.cli import run
from bench.results import load

pytestmark = pytest.mark.needs("cpumap programs", "tc links")

FEW = (demo.BASELINE, "flannel/backlog+gro-list")


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The drawing library keeps its fonts open, from its first picture on."""
    demo.draw(
        load(Path(__file__).resolve().parents[2] / "docs/results/first-flow"), tmp_path_factory.mktemp("x")
    )
    yield


def test_it_keeps_samples_fingerprints_table_and_picture(
    warm: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "VARIANTS", FEW)
    monkeypatch.setattr(demo, "PAIRS", [FEW[::-1]])
    out = tmp_path / "run"
    assert run(["demo", "--rounds", "1", "--seconds", "0.01", "--out", str(out), "--json"]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert [row["variant"] for row in found["rows"]] == [*FEW]
    assert [each["verdict"] for each in found["comparisons"]] == ["inconclusive"]
    kept = load(out)
    assert sorted(sample["variant"] for sample in kept.samples) == sorted(FEW)
    assert all(sample["invalid"] == [] for sample in kept.samples)
    assert "about " in said.err and "round 1/1: " in said.err
    assert {path.name for path in out.iterdir()} == {
        *("experiment.json", "samples.jsonl", "fingerprint-before.json", "fingerprint-after.json"),
        *("table.md", "rates.png", "rates.svg"),
    }
    assert run(["demo", "--out", str(out)]) == 2
    assert "is not empty, and results are never overwritten" in capsys.readouterr().err
