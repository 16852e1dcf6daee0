"""The first experiment, as it is described."""

from pathlib import Path

import pytest

from bench import conduct, demo
from bench.variant import Variant


@pytest.mark.parametrize(("quick", "points", "most"), [(False, 4, 660), (True, 1, 120)])
def test_it_is_over_in_the_time_that_its_help_promises(
    quick: bool, points: int, most: float, tmp_path: Path
) -> None:
    experiment = demo.described(quick)
    assert len(experiment.points) == points
    assert conduct.needed(experiment, conduct.missing(experiment, tmp_path / "new")) < most
    assert experiment.rounds >= 6, "fewer support no verdict"


def test_it_has_all_cases_both_sinks_and_stock_at_its_best() -> None:
    experiment = demo.described()
    variants = [Variant.parse(text) for text in experiment.variants]
    assert {each.case for each in variants} == {"native", "linux", "docker", "flannel"}
    assert any(each.is_stand_in for each in variants) and any(not each.is_stock for each in variants)
    assert {point["sink"] for point in experiment.points} == {"count", "read"}
    assert len(experiment.pairs) == 3, "sentences that it opens with"


def test_a_sweep_is_wanted_for_each_payload_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert [(case, sent.payload, sink) for case, sent, sink in demo.unswept(demo.described())] == [
        ("flannel", 18, "count"),
        ("flannel", 18, "read"),
        ("flannel", 1400, "count"),
        ("flannel", 1400, "read"),
    ]
