"""Calibration finds costs again that it was not told; what it used does not validate it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.cli import run as overspray
from prototype import validate
from prototype.calibrate import ISOLATES, fit, prepare
from prototype.costs import Costs, reference
from prototype.model import simulate
from prototype.paper import PAIRS, SINGLE, fitted, predict, run
from prototype.records import Row, read_results
from steering.errors import BadInput

POINT = "udp, 18 B, 1 flow, best, constant, count"
TRUE = {"stack": 1.3, "outer": 0.7, "bridge": 1.2, "gro": 1.25}


def sample(variant: str, rate: float, point: str = POINT, **more: Any) -> dict[str, Any]:
    return {
        **{"point": point, "variant": variant, "asked": None, "settings": {}, "invalid": []},
        **{"rate_pps": rate, "wire_share": 0.135, "seconds": 0.4, "offered": 400_000},
        **{"cores": {"0": {}, "1": {}}, **more},
    }


def folder(path: Path, samples: list[dict[str, Any]]) -> Path:
    path.mkdir()
    (path / "samples.jsonl").write_text("\n".join(map(json.dumps, samples)))
    (path / "fingerprint-before.json").write_text(json.dumps({"cpu": "one", "kernel": "7.0"}))
    return path


def cost_file(path: Path) -> Path:
    parts = {name: {"median": 11.0} for name in ("maps", "parse", "classify", "policy")}
    file = path / "cost.json"
    file.write_text(json.dumps({"policies": [{"policy": "backlog", "parts": parts}]}))
    return file


def lab(costs: Costs, variants: tuple[str, ...]) -> list[dict[str, Any]]:
    """A lab that is the model itself, with costs that nobody is told."""
    made = []
    for variant in variants:
        row = Row("x", POINT, variant, variant, None, 1.0, 1, 0, 135.0, 2)
        setup, machine, load = row.parsed()
        outcome = simulate(setup, machine, replace(load, seconds=0.02, warmup=0.005), costs)
        offered = round(0.4 * outcome.offered / outcome.seconds)
        wire = {"wire_share": 135e-9 * offered / 0.4}
        made.append(sample(variant, outcome.rate_pps, offered=offered, **wire))
    return made


def test_costs_are_found_again_from_rates_alone(tmp_path: Path) -> None:
    truth = reference().scaled(TRUE)
    others = ("docker/backlog+gro-list", "docker/rps-veth", "docker/flowcell", "linux/rps")
    measured = folder(tmp_path / "single", lab(truth, (*ISOLATES, *others)))
    found = fit(prepare(measured, cost_file(tmp_path)), steps=4, seconds=0.02)
    assert found.stages.steer.mean == 33
    assert found.policies == {"backlog": 11}
    assert found.fingerprint == {"cpu": "one", "kernel": "7.0"}
    for stage in ("outer", "bridge"):
        expected = getattr(truth.stages, stage).mean
        assert getattr(found.stages, stage).mean == pytest.approx(expected, rel=0.2)
    rows, left_out = validate.compare(read_results(measured), found)
    assert {each.row.variant for each in rows} == set(others)
    assert not left_out
    assert validate.errors(rows).median < 0.08
    table = validate.markdown(rows)
    assert all(f"`{name}`" in table for name in others)


def test_a_wrong_model_is_called_wrong(tmp_path: Path) -> None:
    truth = reference()
    wrong = truth.scaled({"outer": 4, "stack": 2})
    measured = folder(tmp_path / "single", lab(truth, ("docker/none", "docker/local+gro-list")))
    rows, _ = validate.compare(read_results(measured), wrong)
    errors = validate.errors(rows)
    assert not errors.holds
    assert errors.worst > validate.WORST_AT_MOST
    assert errors.worst_row.endswith("docker/none")


def test_rows_that_show_nothing_are_not_counted(tmp_path: Path) -> None:
    point = "udp, 18 B, 1 flow, 50000 pps, constant:batch=64,us=20, count"
    samples = [
        sample("docker/none", 50_000, point, asked=50_000),
        sample("docker/nonesuch", 50_000, point),
    ]
    rows, left_out = validate.compare(
        read_results(folder(tmp_path / "light", samples)), reference()
    )
    assert rows[0].easy
    assert list(left_out) == [f"light | {point} | docker/nonesuch"]
    with pytest.raises(BadInput, match="no run to predict"):
        validate.errors(rows)


def test_invalid_runs_are_left_out_of_a_median(tmp_path: Path) -> None:
    samples = [sample("docker/none", rate) for rate in (1e5, 2e5, 3e5)]
    samples += [sample("docker/none", 9e5, invalid=["the wire is the limit"])]
    (row,) = read_results(folder(tmp_path / "some", samples))
    assert (row.measured, row.runs, row.invalid) == (2e5, 4, 1)
    assert row.wire == pytest.approx(135)


def test_the_time_of_the_cores_behind_the_nics_is_read(tmp_path: Path) -> None:
    cores = {"0": {"softirq": 0.9, "wire": 0.1}, "1": {"softirq": 0.2, "cpumap": 0.3, "other": 0.1}}
    (row,) = read_results(folder(tmp_path / "some", [sample("docker/rps", 1e5, cores=cores)]))
    assert row.other_cores == pytest.approx(0.5)


def test_stock_best_is_what_it_was_resolved_to(tmp_path: Path) -> None:
    resolved = "flannel/rps-vxlan:mask=2+gro-list:container=1,nic=1,tunnel=1"
    samples = [sample("flannel/stock-best", 1e6, settings={"resolved": resolved})]
    (row,) = read_results(folder(tmp_path / "some", samples))
    assert str(row.parsed()[0]) == "flannel/rps-vxlan+gro-list"
    assert row.variant == "flannel/stock-best"


def test_the_paper_is_fitted_to_one_flow_and_says_the_rest() -> None:
    costs = fitted()
    for protocol, cases in SINGLE.items():
        for case, gbps in cases.items():
            found = run(costs, protocol, case, 1).goodput_bps / 1e9
            assert found == pytest.approx(gbps, rel=0.05), (protocol, case)
    points = {(p.case, p.protocol, p.pairs): p for p in predict(costs, 0.004)}
    assert len(points) == 3 * 2 * len(PAIRS)
    assert points["native", "udp", 80].throughput_gbps < 1.3 * SINGLE["udp"]["native"]
    assert points["docker", "tcp", 8].throughput_gbps > 2 * SINGLE["tcp"]["docker"]
    assert all(p.cpu_cores <= 20.2 and p.throughput_gbps <= 40 for p in points.values())


def test_run_prints_what_the_model_says(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["twin", "run", "backlog+gro-list", "native/none", "--cores", "2..4", "--json"]
    assert overspray([*arguments, "--seconds", "0.01", "--seed", "3"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [each["cores_given"] for each in said["runs"]] == [2, 4, 2, 4]
    assert all(each["source"] == "twin" and not each["unaccounted"] for each in said["runs"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "nonesuch"],
        ["run", "backlog", "--cores", "0"],
        ["run", "backlog", "--cores", "8..2"],
        ["run", "backlog", "--cores", "129"],
        ["run", "backlog", "--link", "fast"],
        ["run", "backlog", "--protocol", "sctp"],
        ["run", "backlog", "--costs", "nowhere.json"],
        ["calibrate", "--results", "nowhere"],
        ["validate", "nowhere", "--costs", "nowhere.json"],
    ],
)
def test_bad_input_is_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert overspray(["twin", *arguments]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_costs_of_another_host_or_version_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    there = reference().model_copy(update={"fingerprint": {"cpu": "another"}})
    there.write(path)
    assert Costs.read(path) == there
    with pytest.raises(BadInput, match="another host"):
        Costs.read(path, {"cpu": "this one"})
    path.write_text(path.read_text().replace('"version": 2', '"version": 3'))
    with pytest.raises(BadInput, match="version 3"):
        Costs.read(path)


def test_a_row_is_simulated_at_the_rate_that_it_was_asked_for() -> None:
    row = Row("x", POINT, "docker/none", "docker/none", 1e5, 1e5, 1, 0, 135.0, 2)
    setup, machine, load = row.parsed()
    assert (machine.lab, load.rate) == (True, 1e5)
    outcome = simulate(setup, machine, replace(load, seconds=0.05), reference())
    assert outcome.rate_pps == pytest.approx(1e5, rel=0.05)
