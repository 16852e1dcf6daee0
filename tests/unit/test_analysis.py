"""From runs to comparisons: pairing by round, reasons that make one invalid, the JSON object."""

import json
from typing import Any

import pytest
from samples import sample

from bench.analysis import compare_runs, figures, tables
from bench.experiment import Limits, parse
from bench.sample import Sample
from bench.summary import compared
from steering.errors import BadInput


def runs(variant: str, delivered: list[int], **changes: Any) -> list[Sample]:
    return [
        sample(
            variant=variant,
            round=n,
            offered=packets + 100,
            delivered=packets,
            delivered_bytes=packets * 18,
            **changes,
        )
        for n, packets in enumerate(delivered)
    ]


A = runs("docker/none", [1000, 1010, 990, 1005, 995, 1000])
B = runs("docker/local", [2000, 2030, 1980, 2000, 2010, 1990])


def test_each_verdict_is_reached() -> None:
    def verdict(b: list[Sample], **options: Any) -> str:
        found = compare_runs(A, b, **options)
        assert found is not None
        return found.verdict

    assert verdict(B) == "better"
    assert verdict(runs("b", [500, 510, 490, 500, 500, 505])) == "worse"
    assert verdict(runs("b", [1001, 1008, 992, 1003, 996, 1002])) == "equivalent"
    assert verdict(runs("b", [800, 1300, 900, 1200, 700, 1400])) == "inconclusive"
    assert verdict(runs("b", [2000] * 6, invalid=["settings not in effect"])) == "invalid"
    assert verdict(B, metric="cpu") == "better"
    assert verdict(B, metric="p99") == "equivalent"


def test_only_rounds_that_both_have_are_paired() -> None:
    found = compare_runs(A[2:], B[:5])
    assert found is not None
    assert found.rounds == 3
    assert found.ratio.median == pytest.approx(2.0, rel=0.02)
    assert compare_runs(A[:2], B[4:]) is None
    assert compare_runs(A, runs("b", [1] * 6, latency={}), metric="p99") is None


def test_packets_that_vanish_make_it_invalid() -> None:
    bad = [b.model_copy(update={"offered": b.offered + 7}) if b.round == 2 else b for b in B]
    found = compare_runs(A, bad)
    assert found is not None
    assert found.verdict == "invalid"
    assert found.reasons == ("docker/local: 7 packets unaccounted for (round 2)",)


def test_stolen_time_counts_by_its_median() -> None:
    stolen = {0: {"softirq": 0.6, "steal": 0.4}, 1: {"softirq": 0.5}}
    once = [B[0].model_copy(update={"cores": stolen}), *B[1:]]
    found = compare_runs(A, once)
    assert found is not None
    assert found.verdict == "better"
    always = [b.model_copy(update={"cores": stolen}) for b in B]
    found = compare_runs(A, always)
    assert found is not None
    assert found.reasons == ("docker/local: 20.0% of the time stolen by the hypervisor",)
    found = compare_runs(A, always, limits=Limits(steal=0.3))
    assert found is not None
    assert found.verdict == "better"


def test_tables_follow_the_experiment() -> None:
    experiment = parse(
        'name = "t"\ntitle = ""\nquestion = ""\nbaselines = ["none", "native/none"]\n'
        '[[groups]]\ncases = ["native"]\nvariants = ["none"]\n'
        '[[groups]]\ncases = ["docker"]\nvariants = ["none", "local"]\n',
        "t",
    )
    native = runs("native/none", [1500] * 6)
    (table,) = tables([*B, *native, *A], experiment)
    assert [str(row.variant) for row in table.rows] == [
        "native/none",
        "docker/none",
        "docker/local",
    ]
    first, stock, ours = table.rows
    assert first.against == {}
    assert set(stock.against) == {"native/none"}
    assert ours.against["none"].ratio.median == pytest.approx(2.0, rel=0.02)
    assert ours.against["native/none"].ratio.median == pytest.approx(4 / 3, rel=0.02)
    assert stock.drops == {"backlog": {"netdev_max_backlog": pytest.approx(100 / 1100, rel=0.02)}}
    assert ours.cores[0] == {"softirq": 0.7, "wire": 0.2}


def test_figures_are_in_the_units_shown() -> None:
    found = figures(A)
    assert found["rate"].median == pytest.approx(0.001)
    assert found["p99"].median == 5
    assert found["loss"].median == pytest.approx(9.09, rel=0.01)
    assert found["cpu"].median == pytest.approx(1.2e6, rel=0.01)
    assert "buffer" not in found


def test_the_json_object() -> None:
    found = compared(A, B)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["a"], found["b"], found["metric"]) == ("docker/none", "docker/local", "rate")
    assert found["verdict"] == "better"
    assert found["ratio"]["low"] <= found["ratio"]["median"] <= found["ratio"]["high"]
    assert found["rounds"][0] == {"round": 0, "a": 0.001, "b": 0.002}
    ours = found["variants"]["b"]
    assert ours["rate_pps"] == 2000
    assert ours["goodput_bps"] == 2000 * 18 * 8
    assert ours["drops"] == {"backlog": {"netdev_max_backlog": pytest.approx(0.0476, rel=0.01)}}
    assert ours["order"]["reordered"] == 0
    assert ours["latency_ns"]["p99.9"] == 9000
    assert ours["cores"]["0"]["softirq"] == 0.7
    assert ours["per_packet"]["softirqs"] == 1
    assert ours["wire_share"] == 0.2


def test_the_json_object_has_no_nan() -> None:
    found = compared(runs("a", [0] * 6), runs("b", [1] * 6))
    assert found["verdict"] == "invalid"
    assert found["ratio"] == {"median": None, "low": None, "high": None}
    json.dumps(found, allow_nan=False)


def test_what_cannot_be_compared() -> None:
    with pytest.raises(BadInput, match="unknown metric 'speed': choose from acks, application"):
        compared(A, B, "speed")
    with pytest.raises(BadInput, match="no round has 'buffer' for both variants"):
        compared(A, B, "buffer")
