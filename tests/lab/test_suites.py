"""The open questions in their quick form, as a user types it; so is the paper's suite."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import lab as labs
from bench.results import Results
from steering import netns

MAIN = "from bench.cli import main; main()"
LAB = "suite"
pytestmark = [
    pytest.mark.root,
    pytest.mark.timeout(240),
    pytest.mark.skipif(os.cpu_count() == 1, reason="host cannot: it has one core"),
]


@pytest.mark.parametrize(
    ("suite", "name", "variants"),
    [
        ("answers", "elephant", {"docker/none", "docker/apart+gro-list", "docker/rss:tuple=4"}),
        ("paper", "cpu", {"native/none", "linux/none", "docker/none"}),
    ],
)
def test_quick(suite: str, name: str, variants: set[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-c", MAIN, suite, name, "--quick", "--json"),
            *("--lab", LAB, "--out", str(tmp_path)),
        ],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    json.loads(done.stdout)
    [folder] = tmp_path.iterdir()
    assert "not yet measured" in (folder / "report.md").read_text() or suite == "paper"
    results = Results.open(folder / name)
    samples = results.samples()
    assert len(samples) == results.experiment.runs()
    assert not [s.invalid for s in samples if s.unaccounted or s.invalid]
    assert variants <= {sample.variant for sample in samples}
    point, costs = results.own_cost()
    assert point in {sample.point for sample in samples}
    assert set(costs) == {sample.variant for sample in samples if sample.point == point}
    assert all(0 <= ns < 2000 for ns in costs.values())
    assert not netns.names(LAB)
    assert not [path.name for path in labs.STATE.glob(f"{LAB}*")]
