"""``overspray bench`` on real packets: killed in the middle of a round, it goes on and reports."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from commands import DYING_WITH_US, ROOT, overspray

from bench.results import read

DESCRIPTION = """
title = "Without and with an overlay"
variants = ["native/none", "flannel/none"]
rounds = 2
seconds = 0.05
"""
KILLED = """
import os, signal
from bench.cli import main
from bench.results import Results

add = Results.add

def add_three(self, sample):
    add(self, sample)
    if (self.directory / "samples.jsonl").read_text().count("\\n") == 3:
        os.kill(os.getpid(), signal.SIGKILL)

Results.add = add_three
main()
"""


@pytest.mark.timeout(110)  # two commands, each with a lab of its own
def test_killed_it_goes_on_where_it_was_and_reports(tmp_path: Path) -> None:
    file, out = tmp_path / "two.toml", tmp_path / "out"
    file.write_text(DESCRIPTION)
    line = ("bench", str(file), "--out", str(out), "--json")
    killed = subprocess.run(
        [*DYING_WITH_US, sys.executable, "-c", KILLED, *line],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    first = read(out)
    assert len(first.samples) == 3 and first.after is None
    with (out / "samples.jsonl").open("a") as samples:
        samples.write('{"variant": "flan')  # as a loss of power may leave it
    done = overspray(*line)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    [point] = found["parts"][0]["points"]
    assert [row["variant"] for row in point["rows"]] == ["native/none", "flannel/none"]
    assert [len(row["rates"]) for row in point["rows"]] == [2, 2]
    kept = read(out)
    assert kept.samples[:3] == first.samples and [each["session"] for each in kept.samples] == [1, 1, 1, 2]
    assert all(sample["invalid"] == [] for sample in kept.samples)
    assert [session.after is None for session in kept.sessions] == [True, False]
    assert {"torn-1.txt", "report.html", "rates.svg", "table.md"} < {each.name for each in out.iterdir()}
