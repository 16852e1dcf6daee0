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
    assert found.description == {"format": results.FORMAT, **ASKED}
    assert found.samples == SAMPLES
    assert found.after is not None and found.before["kernel"] == found.after["kernel"]


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
    assert json.loads((tmp_path / results.EXPERIMENT).read_text()) == {"format": results.FORMAT, **ASKED}


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
        (text[:9] + b"\n" + text[9:], "damaged: not JSON"),
        (b"[]\n", "no|not a"),
        (b"\xff", "damaged: not text"),
    ):
        file.write_bytes(damage)
        with pytest.raises(BadInput, match=words) as caught:
            load(written)
        assert name in str(caught.value) and "\n" not in str(caught.value)
    file.unlink()
    if "after" in name:  # of a run that was killed, what was saved stays readable
        assert load(written).after is None
        return
    with pytest.raises(BadInput, match=f"{name}' is missing"):
        load(written)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "is empty: nothing was measured"),
        ([sample(), sample()], "line 2, is damaged: a second run of flannel/none in round 0"),
        ([sample(rate="fast")], "line 1, is damaged: its 'rate' is 'fast'"),
        ([{"variant": "flannel/none"}], "line 1, is damaged: its 'round' is 'missing'"),
        ([sample(), sample(round_number=-1)], "line 2, is damaged: its 'round' is -1"),
        ([sample(rate=float("nan"))], "line 1, is damaged: not JSON"),
        ([sample(rate=True)], "line 1, is damaged: its 'rate' is True"),
        ([sample(cores={"0": 1})], "line 1, is damaged: its 'cores' is {'0': 1}"),
        ([sample(cores={"x": {}})], r"line 1, is damaged: its 'cores' are \['x'\]"),
        ([sample(order={"reordered": "no"})], "line 1, is damaged: its 'order' is"),
        ([sample(point={"payload": []})], "line 1, is damaged: its 'point' is"),
    ],
)
def test_a_wrong_sample_is_named(written: Path, lines: list[object], words: str) -> None:
    (written / results.SAMPLES).write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(BadInput, match=words):
        load(written)


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (3, "experiment.json' is of format 3, newer than 2, the last that is known: update"),
        ("2", "experiment.json' is damaged: its 'format' is '2'"),
        (0, "experiment.json' is damaged: its 'format' is 0"),
    ],
)
def test_a_newer_format_is_refused(written: Path, version: object, words: str) -> None:
    (written / results.EXPERIMENT).write_text(json.dumps({**ASKED, "format": version}))
    with pytest.raises(BadInput, match=words):
        load(written)


def test_what_was_saved_before_there_were_formats_is_read() -> None:
    found = load(Path(__file__).resolve().parents[2] / "docs/results/first-flow")
    assert "format" not in found.description
    assert len(found.samples) == 110


def test_the_same_round_of_another_batch_or_point_is_another_run(written: Path) -> None:
    runs = [sample(), sample(batch=1), sample(batch=1, point={"payload": 18}), sample(point={"payload": 18})]
    (written / results.SAMPLES).write_text("".join(json.dumps(each) + "\n" for each in runs))
    assert load(written).samples == runs


def test_a_torn_line_is_left_out_and_set_aside_before_anything_is_appended(written: Path) -> None:
    file = written / results.SAMPLES
    whole = file.read_bytes()
    for number in (1, 2):
        file.write_bytes(whole + b'{"variant": "flan')
        assert load(written).torn == '{"variant": "flan'
        assert load(written).samples == SAMPLES
        made = Results.resumed(written)
        assert (written / f"torn-{number}.txt").read_text() == '{"variant": "flan\n'
        assert file.read_bytes() == whole
    made.add(sample(round_number=7))
    assert load(written).samples == [*SAMPLES, sample(round_number=7)]


def test_each_session_has_its_own_fingerprints(written: Path) -> None:
    first = (written / "fingerprint-before.json").read_bytes()
    for number in (2, 3):
        made = Results.resumed(written)
        assert made.session == number
        made.fingerprint("before")
        assert (written / f"fingerprint-before-{number}.json").exists()
    found = load(written).sessions
    assert [each.after is None for each in found] == [False, True, True]
    assert (written / "fingerprint-before.json").read_bytes() == first


def test_a_full_disk_is_one_line_and_leaves_what_was_saved(written: Path) -> None:
    file, made = written / results.SAMPLES, Results.resumed(written)
    file.rename(written / "kept")
    file.symlink_to("/dev/full")
    with pytest.raises(OversprayError, match=r"can't write '.*samples.jsonl': No space left.*is whole"):
        made.add(sample())
    file.unlink()
    (written / "kept").rename(file)
    assert load(written).samples == SAMPLES


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Results(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.link", full)
        with pytest.raises(OversprayError, match=r"can't write '.*experiment.json': No space left"):
            made.describe(ASKED)
    assert [each.name for each in tmp_path.iterdir()] == [results.SAMPLES]
    made.describe(ASKED)
