"""Result files: kept raw, never overwritten, read back exactly, damage named by file and line."""

import json
import platform
import re
from pathlib import Path

import pytest
from pydantic import ValidationError
from samples import sample

from bench import fingerprint
from bench.results import Results
from steering.errors import BadInput

EXPERIMENT = """
name = "tiny"
title = "Tiny"
question = "Is it kept?"
baselines = ["none"]
[[groups]]
cases = ["docker"]
variants = ["none", "local"]
"""


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results.create(tmp_path / "results", "tiny", EXPERIMENT)


def test_samples_come_back_as_they_were(results: Results) -> None:
    runs = [sample(round=n, variant=v) for n in range(3) for v in ("docker/none", "docker/local")]
    for run in runs:
        results.add(run)
    again = Results.open(results.path)
    assert again.samples() == runs
    assert again.experiment.name == "tiny"
    assert ("udp, 18 B, 1 flow, best, constant, count", 2, "docker/local") in again.done()
    assert len(again.done()) == 6


def test_a_sample_derives_its_rates() -> None:
    run = sample(seconds=0.5)
    assert run.rate_pps == 1800
    assert run.goodput_bps == 1800 * 18 * 8
    assert run.loss == pytest.approx(0.1)
    assert run.unaccounted == 0
    assert run.reasons == []
    # The wire's own time is no cost of receiving.
    assert run.cpu_seconds == pytest.approx(0.6)
    assert json.loads(run.model_dump_json())["rate_pps"] == 1800


def test_packets_that_vanish_make_a_run_invalid() -> None:
    run = sample(delivered=890, invalid=["the wire is the limit"])
    assert run.reasons == ["the wire is the limit", "10 packets unaccounted for"]


@pytest.mark.parametrize(
    "change",
    [{"delivered": -1}, {"seconds": 0}, {"surprise": 1}, {"wire_share": 1.5}, {"version": 2}],
)
def test_what_is_no_sample(change: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        sample(**change)


def test_nothing_is_overwritten(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamp = results.path.name.removesuffix("-tiny")
    monkeypatch.setattr("time.strftime", lambda _format: stamp)
    with pytest.raises(BadInput, match=r"can't make result directory .*: File exists"):
        Results.create(tmp_path / "results", "tiny", EXPERIMENT)
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="can't make result directory"):
        Results.create(tmp_path / "file", "tiny", EXPERIMENT)


def test_a_killed_writer_costs_one_line_at_most(results: Results) -> None:
    results.add(sample(round=0))
    file = results.path / "samples.jsonl"
    with file.open("a") as stream:
        stream.write('{"version": 1, "poi')
    resumed = Results.open(results.path)
    assert [run.round for run in resumed.samples()] == [0]
    resumed.add(sample(round=1))
    assert [run.round for run in Results.open(results.path).samples()] == [0, 1]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"version": 1, "poi', "line 2: damaged: not JSON"),
        ("\0\0\0", "line 2: damaged: not JSON"),
        ("[]", "line 2: written as version None, this program reads 1"),
        ('{"version": 7}', "line 2: written as version 7, this program reads 1"),
        ('{"version": 1}', "line 2: no sample: point: Field required"),
        (sample().model_dump_json(), "line 2: a second sample of 'docker/none' at 'udp, 18 B"),
    ],
)
def test_damage_is_named_by_file_and_line(results: Results, line: str, message: str) -> None:
    with (results.path / "samples.jsonl").open("a") as stream:
        stream.write(f"{sample().model_dump_json()}\n{line}\n{sample(round=1).model_dump_json()}\n")
    with pytest.raises(BadInput, match=re.escape(message)) as error:
        results.samples()
    assert "samples.jsonl" in str(error.value)


def test_what_is_no_result_directory(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"is no result directory: it has no experiment\.toml"):
        Results.open(tmp_path)


def test_fingerprints_are_numbered(results: Results) -> None:
    for when in ("before", "before", "after"):
        results.add_fingerprint(when, {"kernel": when})  # type: ignore[arg-type]
    names = sorted(file.name for file in results.path.glob("fingerprint*"))
    assert names == [
        "fingerprint-after.json",
        "fingerprint-before-2.json",
        "fingerprint-before.json",
    ]
    assert results.fingerprints("before") == [{"kernel": "before"}] * 2
    (results.path / "fingerprint-after.json").write_text("{")
    with pytest.raises(BadInput, match=r"fingerprint-after\.json: damaged"):
        results.fingerprints("after")


def test_a_fingerprint_identifies_no_host() -> None:
    found = fingerprint.fingerprint()
    assert found["kernel"]
    assert found["cores"]
    assert found["packages"]["numpy"]
    text = json.dumps(found)
    assert str(Path.cwd()) not in text
    assert platform.node() not in re.findall(r"[\w.-]+", text)


def test_changes_between_fingerprints() -> None:
    before = {"kernel": "6.1", "load": [1], "sysctls": {"a": "1", "b": "2"}, "cpu_seconds": {}}
    after = {"kernel": "6.2", "load": [2], "sysctls": {"a": "1", "b": "3"}, "cpu_seconds": {}}
    assert fingerprint.changes(before, after) == [
        "kernel: 6.1 became 6.2",
        "sysctls b: 2 became 3",
    ]
    assert fingerprint.steal_between(before, after) is None
    zero = dict.fromkeys(
        ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"), 0.0
    )
    later = zero | {"idle": 90.0, "steal": 10.0}
    assert fingerprint.steal_between({"cpu_seconds": zero}, {"cpu_seconds": later}) == 0.1
