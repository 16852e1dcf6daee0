"""A result directory: written once, read back as it was, and what is damaged is named."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench import results
from bench.results import Results, load
from steering.errors import BadInput, OversprayError

ASKED = {"name": "demo", "payload": 18, "flows": 1}


def sample(variant: str = "flannel/none", round_number: int = 0, **others: Any) -> dict[str, Any]:
    needed = {"offered": 10, "delivered": 9, "rate": 18.0, "cores": {"0": {"softirq": 1.0}}}
    return {"variant": variant, "round": round_number, **needed, **others}


SAMPLES = [sample(variant, number) for number in range(2) for variant in ("flannel/none", "flannel/local")]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    made = Results(tmp_path / "a/b")
    made.describe(ASKED)
    made.fingerprint("before")
    for each in SAMPLES:
        made.add(each)
    made.fingerprint("after")
    return made.directory


def test_what_was_written_is_read(written: Path) -> None:
    found = load(written)
    assert found.description == ASKED
    assert found.samples == SAMPLES
    assert found.before["kernel"] == found.after["kernel"]


def test_a_sample_is_on_disk_at_once(tmp_path: Path) -> None:
    made = Results(tmp_path)  # empty is as good as new
    made.add(sample())
    assert json.loads((tmp_path / results.SAMPLES).read_text()) == sample()


def test_nothing_is_overwritten(written: Path) -> None:
    with pytest.raises(BadInput, match="is not empty, and results are never overwritten"):
        Results(written)
    assert len(load(written).samples) == 4


def test_nothing_is_said_twice(tmp_path: Path) -> None:
    made = Results(tmp_path)
    made.describe(ASKED)
    made.fingerprint("after")
    with pytest.raises(OversprayError, match="already: not overwritten"):
        made.describe({})
    with pytest.raises(OversprayError, match=r"fingerprint-after\.json' is there already"):
        made.fingerprint("after")
    assert json.loads((tmp_path / results.EXPERIMENT).read_text()) == ASKED


def test_a_file_in_the_way_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="can't make result directory"):
        Results(tmp_path / "file/below")


def test_what_json_cannot_hold_is_not_written(tmp_path: Path) -> None:
    made = Results(tmp_path)
    with pytest.raises(ValueError, match="not JSON compliant"):
        made.add(sample(rate=float("nan")))
    assert (tmp_path / results.SAMPLES).read_text() == ""


@pytest.mark.parametrize(
    "name", ["experiment.json", "samples.jsonl", "fingerprint-before.json", "fingerprint-after.json"]
)
def test_each_file_is_needed_whole(written: Path, name: str) -> None:
    file = written / name
    text = file.read_bytes()
    for damage, words in (
        (text[:-9], "damaged: not JSON"),
        (b"[]\n", "no|not a"),
        (b"\xff", "damaged: not text"),
    ):
        file.write_bytes(damage)
        with pytest.raises(BadInput, match=words) as caught:
            load(written)
        assert name in str(caught.value) and "\n" not in str(caught.value)
    file.unlink()
    with pytest.raises(BadInput, match=f"{name}' is missing"):
        load(written)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "is empty: nothing was measured"),
        ([sample(), sample()], "line 2, is damaged: a second run of flannel/none in round 0"),
        ([sample(rate="fast")], "line 1, is damaged: its 'rate' is 'fast'"),
        ([{"variant": "flannel/none"}], "line 1, is damaged: its 'round' is 'missing'"),
    ],
)
def test_a_wrong_sample_is_named(written: Path, lines: list[object], words: str) -> None:
    (written / results.SAMPLES).write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(BadInput, match=words):
        load(written)
