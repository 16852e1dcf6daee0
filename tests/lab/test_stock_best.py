"""`overspray stock-best` as a person types it: a tiny sweep, and a comparison that names what it found."""

import json
import subprocess
from pathlib import Path

import pytest
from commands import command

from bench.best_file import FOLDER, load
from bench.stock_best import candidates
from steering import cores

pytestmark = pytest.mark.needs("RPS", "threaded NAPI", "UDP forwarding")


def typed(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run ``overspray`` in that folder."""
    line = command(*arguments)
    return subprocess.run(
        line, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=50
    )


def test_what_a_sweep_finds_best_a_comparison_can_name(tmp_path: Path) -> None:
    whole = str(candidates("flannel", cores.usable()[0])[-1])  # RPS everywhere, datagrams merged, threads
    tried = ["flannel/none", whole, "flannel/none+gro-list"]
    among = [word for text in tried for word in ("--among", text.removeprefix("flannel/"))]
    short = ("--rounds", "1", "--seconds", "0.02")
    done = typed(tmp_path, "stock-best", "--case", "flannel", *among, *short)
    assert done.returncode == 0, done.stderr
    [file] = (tmp_path / FOLDER).iterdir()
    found = load(file)
    best = found["best"][""]["variant"]
    assert {run["variant"] for stage in found["stages"] for run in stage["samples"]} == {*tried}
    assert f"best of stock: {best}, " in done.stdout
    assert "1 rounds can't support a verdict" in done.stdout
    assert f"saved as {FOLDER / file.name}" in done.stdout

    done = typed(tmp_path, "ab", "flannel/stock-best", "flannel/none", *short, "--json")
    assert done.returncode == 0, done.stderr
    assert f"flannel/stock-best is {best} ({FOLDER / file.name})" in done.stderr
    compared = json.loads(done.stdout)
    assert compared["a"] == compared["variants"]["a"]["variant"] == best
    assert compared["named"] == {"a": {"text": "flannel/stock-best", "file": str(FOLDER / file.name)}}
    assert not [text for text in compared["warnings"] if "another host" in text]
