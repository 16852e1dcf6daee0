"""A long comparison is done in parts, kept as it goes, and gone on with."""

import json
from collections import Counter
from pathlib import Path

import pytest

from bench.verify import SUITE, Outcome
from bench.verify_capture import digest
from bench.verify_jobs import MOST, Part, parts
from bench.verify_kept import Kept, summed, table
from bench.verify_run import Finding, Report
from steering.errors import BadInput

TWO = SUITE[:2]
COMMAND = "overspray verify --frames 9"


def done(setup: object, seed: int, **more: object) -> Report:
    return Report(str(setup), seed, frames=10, sights=8, fast=3, seconds=1.0, **more)  # type: ignore[arg-type]


def test_frames_are_shared_out_over_setups_and_seeds() -> None:
    made = parts(TWO, 5 * MOST, 7)
    assert sum(part.frames for part in made) == 5 * MOST
    assert [(part.setup, part.seed) for part in made[:3]] == [(TWO[0], 7), (TWO[1], 7), (TWO[0], 8)]
    assert len({(part.setup, part.seed) for part in made}) == len(made) == 6
    assert [part.frames for part in parts(TWO, 9, 1)] == [5, 5]


def test_what_was_broken_off_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "new" / "kept.json"
    todo = parts(TWO, 3 * MOST, 1)
    kept = Kept.open(path, COMMAND)
    assert kept.left(todo) == todo
    kept.add(done(TWO[0], 1, known=Counter({"two zeros": 2})))
    kept.add(done(TWO[1], 1, findings=[Finding("x", (b"f",), Outcome(Counter(), Counter()))]))
    again = Kept.open(path, COMMAND)
    assert again.left(todo) == todo[2:]
    again.add(done(TWO[0], 2, known=Counter({"two zeros": 1})))
    one, other = summed(again.done)
    assert (one["frames"], one["seeds"], one["known"]) == (20, [1, 2], {"two zeros": 3})
    assert len(other["findings"]) == 1
    assert f"| {TWO[0]} | 20 | 6 | 16 | 3 | 0 |" in table(again.done)
    assert table(again.done).endswith("| **all** | 30 | 9 | 24 | 3 | 1 |")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"command": "overspray verify --frames 10"}, "--frames 10"),
        ({"kernel": "1.0"}, "on 1.0"),
        ({"parts": 3}, "not kept by verify"),
        ({"parts": [3]}, "not kept by verify"),
    ],
)
def test_the_file_of_something_else_is_refused(
    tmp_path: Path, change: dict[str, object], says: str
) -> None:
    path = tmp_path / "kept.json"
    Kept.open(path, COMMAND).add(done(TWO[0], 1))
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(BadInput, match=says):
        Kept.open(path, COMMAND)
    path.write_text("{")
    with pytest.raises(BadInput, match="name another file"):
        Kept.open(path, COMMAND)


def test_a_capture_that_has_changed_is_another_one(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    digests = digest([b"a"]), digest([b"b"])
    before, now = (Part(TWO[0], 10, 0, Path("a.pcap"), False, each) for each in digests)
    report = done(TWO[0], 0, digest=before.digest, left_out=2)
    Kept.open(path, COMMAND).add(report)
    again = Kept.open(path, COMMAND)
    assert again.left([before]) == []
    assert summed(again.done)[0]["left_out"] == 2
    with pytest.raises(BadInput, match="the capture has changed"):
        again.left([now])


def test_without_a_file_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Kept.open(None, COMMAND).add(done(TWO[0], 1))
    assert not list(tmp_path.iterdir())
    with pytest.raises(BadInput, match="can't write"):
        Kept(Path("/proc/none.json"), COMMAND).add(done(TWO[0], 1))
