"""Following packets: what is told of an overtaking is what the model's own order says."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench.cli import run as overspray
from prototype import trace
from prototype.costs import reference
from prototype.model import simulate
from prototype.model_load import Load, Machine
from prototype.model_outcome import Outcome
from prototype.model_path import Setup


def traced(variant: str, units: int = 4000, **load: Any) -> Outcome:
    given = Load(**{"seconds": 0.002, "warmup": 0.0, **load})
    return simulate(Setup.parse(variant), Machine(cores=3), given, reference(), traced=units)


def test_every_overtaking_is_one() -> None:
    rows = traced("docker/roundrobin").trace
    found = trace.overtakings(rows)
    assert len(found) == 3
    for each in found:
        late, by = (trace.of_packet(rows, each.flow, place) for place in (each.late, each.by))
        assert each.late < each.by
        assert late["begin"].min() < by["begin"].min(), "it was received first"
        assert late["end"].max() > by["end"].max(), "and reached the socket last"
        assert len(set(late["core"].tolist())) == 2


def test_none_where_order_is_kept() -> None:
    outcome = traced("docker/pin", rate=4e5)
    assert outcome.order["reordered"] == 0
    assert trace.overtakings(outcome.trace) == []


def test_cores_do_one_thing_at_a_time() -> None:
    work = trace.events(traced("docker/backlog").trace)["traceEvents"]
    spans = [each for each in work if each["ph"] == "X"]
    assert {each["args"]["name"] for each in work if each["ph"] == "M"} == {
        f"core {each['tid']}" for each in spans
    }
    for core in {each["tid"] for each in spans}:
        mine = sorted((e["ts"], e["ts"] + e["dur"]) for e in spans if e["tid"] == core)
        ends = [end for _, end in mine[:-1]]
        assert all(end <= begin + 1e-6 for end, (begin, _) in zip(ends, mine[1:], strict=True))


def test_the_command_writes_trace_and_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, plot = tmp_path / "t.json", tmp_path / "t.svg"
    files = ["--out", str(out), "--plot", str(plot)]
    assert overspray(["twin", "trace", "roundrobin", "--units", "300", *files]) == 0
    said = capsys.readouterr().out
    assert "came behind packet" in said
    assert len(json.loads(out.read_text())["traceEvents"]) > 300
    assert "simulated" in plot.read_text()


@pytest.mark.parametrize(
    "arguments", [["--units", "0"], ["--cores", "129"], ["--out", "/nowhere/t.json"]]
)
def test_bad_input_is_one_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    files = ["--out", str(tmp_path / "t.json")]
    assert overspray(["twin", "trace", "roundrobin", *files, *arguments]) == 2
    assert capsys.readouterr().err.count("\n") == 1
