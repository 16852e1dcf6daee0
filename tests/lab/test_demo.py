"""``overspray demo`` with fewer variants: a sweep for what stands for stock's best, then the experiment."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import demo
from bench.cli import run
from bench.experiment import Experiment
from bench.results import load
from bench.rounds import Timing

pytestmark = pytest.mark.needs("cpumap programs", "tc links")

FEW = ("flannel/none", "flannel/stock-best", "flannel/backlog+gro-list")
TINY = Experiment(
    title="few",
    question="",
    variants=FEW,
    baseline=FEW[0],
    pairs=((FEW[2], FEW[1]),),
    rounds=1,
    seconds=0.01,
    traffic={"payload": [18]},
)


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The drawing library keeps its fonts open, from its first picture on."""
    saved = Path(__file__).resolve().parents[2] / "docs/results/first-flow"
    assert run(["report", str(saved), "--out", str(tmp_path_factory.mktemp("x"))]) == 0
    yield


def test_it_sweeps_measures_and_reports(
    warm: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "described", lambda quick: TINY)
    monkeypatch.setattr(demo, "AMONG", ("none",))
    monkeypatch.setattr(demo, "_GRO", ("", "+gro-list"))
    monkeypatch.setattr(demo, "_SWEEP", Timing(1, 0.01))
    capsys.readouterr()
    assert run(["demo", "--out", "run", "--json"]) == 0
    said = capsys.readouterr()
    [part] = json.loads(said.out)["parts"]
    assert [row["variant"] for row in part["points"][0]["rows"]] == [*FEW]
    assert [each["verdict"] for each in part["comparisons"]] == ["inconclusive"]
    kept = load(Path("run"))
    assert sorted(sample["variant"] for sample in kept.samples) == sorted(FEW)
    assert all(sample["invalid"] == [] for sample in kept.samples)
    [best] = [sample for sample in kept.samples if sample["variant"] == FEW[1]]
    assert best["stands_for"] in ("flannel/none", "flannel/none+gro-list")
    assert "a sweep for flannel/stock-best: payload 18" in said.err and "round 1/1: " in said.err
    files = {path.name for path in Path("run").iterdir()}
    assert {"report.html", "table.md", "rates.png", "rates.svg", "samples.jsonl"} <= files
    assert demo.unswept(TINY) == [], "the sweep is kept"
    assert run(["demo", "--out", "run"]) == 2
    assert "'run' is finished" in capsys.readouterr().err
