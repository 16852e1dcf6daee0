"""A description: its points, and every mistake in it at once."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench.axes import AXES, bed_of, filled, search_of, traffic_of
from bench.cli import run
from bench.experiment import Experiment, Mistakes
from bench.traffic import Traffic
from steering.errors import BadInput

GOOD = """
title = "Two variants"
question = "Which is faster?"
variants = ["flannel/none", "local"]
pairs = [["local", "flannel/none"]]
rounds = 3
plot = ["rates", "x = payload", "x=rate"]
[traffic]
payload = [18, 1400]
rate = ["full", 200000]
containers = 2
"""


def described(tmp_path: Path, text: str) -> Experiment:
    file = tmp_path / "two.toml"
    file.write_text(text)
    return Experiment.of_file(file)


def test_the_matrix_is_the_product_and_variants_have_their_full_names(tmp_path: Path) -> None:
    found = described(tmp_path, GOOD)
    assert found.variants == ("flannel/none", "docker/local")
    assert found.pairs == (("docker/local", "flannel/none"),)
    assert found.baseline == "flannel/none"
    assert [(point["payload"], point["rate"]) for point in found.points] == [
        *((18, "full"), (18, 200000)),
        *((1400, "full"), (1400, 200000)),
    ]
    assert {point["containers"] for point in found.points} == {2}
    assert found.varied == ("payload", "rate")
    assert found.label(found.points[1]) == "payload 18, rate 200000"
    assert found.label(found.points[1], without="rate") == "payload 18"
    assert found.lines == ["payload", "rate"]


def test_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    found = described(tmp_path, 'variants = ["flannel/none", "flannel/local"]')
    assert (found.title, found.baseline, found.rounds, found.batches) == ("two", "flannel/none", 11, 1)
    assert found.pairs == (("flannel/local", "flannel/none"),)
    assert found.points == [filled({})]
    assert found.label(found.points[0]) == ""
    assert traffic_of(found.points[0]) == Traffic()
    assert bed_of(found.points[0]) == {
        "containers": 1,
        "mtu": 1500,
        "ip": 4,
        "outer_ip": 4,
        "sink": "count",
        "nic_core": None,
    }


def test_what_was_saved_is_the_same_experiment(tmp_path: Path) -> None:
    found = described(tmp_path, GOOD)
    saved = json.loads(json.dumps({"format": 2, "command": "x", **found.as_dict()}))
    assert Experiment.of_saved(saved, "x") == found


def test_a_point_is_what_traffic_and_bed_are_told(tmp_path: Path) -> None:
    point = filled({"payload": 64, "rate": 5000, "core": 0})
    assert traffic_of(point) == Traffic(64, rate=5000)
    assert bed_of(point)["nic_core"] == 0


def test_every_field_of_traffic_is_an_axis() -> None:
    assert {*vars(Traffic())} - {"run"} == {*AXES} - {
        "containers",
        "mtu",
        "ip",
        "outer_ip",
        "sink",
        "core",
        "load",
        "loss",
    }


BAD = """
titel = "x"
question = 3
variants = ["flannel/none", "flanel/none", "flannel/backlog:cel=3", "nonesuch", "flannel/none",
  "native/local"]
baseline = "native/none"
pairs = [["flannel/none"], ["flannel/none", "y"]]
rounds = 0
batches = true
seconds = "1"
pause = -1
plot = ["x = payload", "x = batch", "bars", "x = z"]
[traffic]
payload = [18, 9000, "big"]
rate = ["full", "fast", true]
flows = []
speed = 3
containers = 99
core = 7777
batch = 64.0
"""
MISTAKES = (
    "unknown key 'titel': choose from baseline, batches",
    "'question' is 3: write a text",
    "'variants' names one twice",
    "variant 'flanel/none': unknown case 'flanel': choose from docker, flannel, linux, native",
    "variant 'flannel/backlog:cel=3': unknown knob",
    "variant 'nonesuch': unknown steering 'nonesuch': choose from adaptive",
    "variant 'native/local': ",
    "'baseline' is 'native/none': choose from flannel/none, ",
    "'pairs' has ['flannel/none']: write two variants",
    "'pairs' has 'y': choose from flannel/none",
    "'rounds' is 0: write a whole number from 1 to 10000",
    "'batches' is True: write a whole number from 1 to 1000",
    "'seconds' is '1': write a number from 0.001 to 60",
    "'pause' is -1: write a number from 0 to ",
    "'plot' has 'x = batch': list two or more values of batch in [traffic]",
    "'plot' has 'bars': choose from 'rates', 'trade' and 'x = AXIS'",
    "'plot' has 'x = z': unknown axis 'z': choose from arrivals, ",
    "[traffic] payload 9000 is out of range: choose from 18 to ",
    "[traffic] 'payload' is 'big': write a whole number",
    "[traffic] 'rate' is 'fast': write a whole number or 'full'",
    "[traffic] 'rate' is True: write a whole number or 'full'",
    "[traffic] 'flows' is empty: list one or more values",
    "[traffic] unknown axis 'speed': choose from arrivals, ",
    "[traffic] 99 containers: choose from 1 to 80",
    "[traffic] core 7777 ",
    "[traffic] 'batch' is 64.0: write a whole number",
)


def test_every_mistake_is_named_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "bad.toml", tmp_path / "out"
    file.write_text(BAD)
    assert run(["bench", str(file), "--out", str(out)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith(f"overspray: '{file}': ") for line in lines)
    for mistake in MISTAKES:
        assert sum(mistake in line for line in lines) == 1, mistake
    assert len(lines) == len(MISTAKES)
    assert not out.exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "'variants' is missing: list one or more"),
        ("variants = []", r"'variants' is \[\]: list one or more texts"),
        ("variants = 'none'", "'variants' is 'none': list"),
        ("variants = ['none']\ntraffic = 3", "'traffic' is 3: write a table with one or more of payload"),
        ("variants = ['none']\npairs = 3", "'pairs' is 3: list pairs"),
        ("variants = ['none']\nplot = []", r"'plot' is \[\]: list one or more"),
        (f"variants = ['none']\n[traffic]\nflows = {[*range(1, 1002)]}", "makes 1001 points: at most 1000"),
    ],
)
def test_a_mistake_says_what_is_allowed(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(Mistakes, match=words):
        described(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "words"),
    [(b"a = [", "two.toml' is no TOML: "), (b"\xff", "two.toml' is no TOML"), (None, "two.toml' is missing")],
)
def test_what_is_no_description_is_one_line(tmp_path: Path, text: bytes | None, words: str) -> None:
    file = tmp_path / "two.toml"
    if text is not None:
        file.write_bytes(text)
    with pytest.raises(BadInput, match=words):
        Experiment.of_file(file)


def test_a_dry_run_lists_and_makes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "two.toml"
    file.write_text(GOOD)
    assert run(["bench", str(file), "--dry-run", "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "point 4/4: payload 1400, flows 1, batch 128, rate 200000" in said
    assert "variant 2/2: docker/local" in said
    assert "24 runs, about " in said
    assert run(["bench", str(file), "--dry-run", "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (len(found["points"]), found["runs"]) == (4, 24)
    assert {each.name for each in tmp_path.iterdir()} == {"two.toml"}


def test_the_experiments_of_this_repository_have_no_mistakes() -> None:
    files = list((Path(__file__).resolve().parents[2] / "bench/experiments").glob("*.toml"))
    assert files
    for file in files:
        assert Experiment.of_file(file).question.endswith("?")


def test_a_load_is_searched_for_only_where_that_is_asked() -> None:
    assert search_of({"rate": "full"}) is None
    assert search_of({"load": "best"}) == ("best", 0.001)
    assert search_of({"load": "search", "loss": 0.01}) == ("search", 0.01)
    for name, value, told in (
        ("load", "most", "unknown load 'most': choose from best, given, search"),
        ("loss", 0.6, "loss 0.6 is out of range: choose from 0 to 0.5"),
    ):
        with pytest.raises(BadInput, match=told):
            AXES[name].probe(value)
