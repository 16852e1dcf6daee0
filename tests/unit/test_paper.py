"""The paper's suite: every finding can be made from its experiments, and says whether it holds."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from samples import sample

from bench import suite
from bench.experiment import parse, quick
from bench.findings import Finding, Judged, judge, load, point_of
from bench.paper_report import findings_table, page, write
from bench.results import Results
from bench.stages import FREQUENCY, Profile
from bench.suite import FAILED
from bench.text import DASH
from bench.variant import Variant
from steering.errors import BadInput

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "docs/results/paper"
POINT = "udp, 18 B, 1 flow, max, constant, count"
TEXT = """
name = "tiny"
title = "Tiny"
question = "?"
rounds = 6
baselines = ["native/none"]
matrix.rate = ["max"]
groups = [{ cases = ["native", "docker"], variants = ["none"] }]
quick = { rounds = 2, matrix = { payload = [64], rate = ["max"] } }
"""
TERM = {"experiment": "tiny", "at": {"traffic": "udp"}}


def test_the_kept_report_is_what_the_saved_results_give() -> None:
    """After new measurements: overspray paper --page docs/results/paper"""
    assert (KEPT / "report.md").read_text() == page(KEPT, suite.held(KEPT))


def finding(**changes: object) -> Finding:
    fields = {
        "id": "half",
        "experiment": "tiny",
        "says": "half",
        "paper": 0.5,
        "over": [{**TERM, "variant": "docker/none"}],
        "under": [{**TERM, "variant": "native/none"}],
        "below": 0.7,
    }
    return Finding.model_validate(fields | changes)


def judged(tmp_path: Path, delivered: Sequence[int], changes: dict[str, object]) -> Judged:
    results = Results.create(tmp_path, "tiny", TEXT)
    for number, packets in enumerate(delivered):
        common = {"round": number, "drops": {}, "point": POINT}
        results.add(sample(**common, variant="native/none", offered=1000, delivered=1000))
        results.add(sample(**common, variant="docker/none", offered=packets, delivered=packets))
    return judge(finding(**changes), {"tiny": results})


@pytest.mark.parametrize(
    ("delivered", "changes", "verdict"),
    [
        ([500] * 6, {}, "holds"),
        ([900] * 6, {}, "does not hold"),
        ([500, 600, 650, 750, 800, 900], {}, "undecided"),
        ([500] * 6, {"below": None, "above": 0.7}, "does not hold"),
        ([500] * 6, {"below": 0.6, "above": 0.4}, "holds"),
        ([500] * 5, {}, "holds (weak)"),
        ([900] * 6, {"scale": 0.5}, "holds"),
    ],
)
def test_a_finding_is_where_the_whole_interval_lies(
    tmp_path: Path, delivered: list[int], changes: dict[str, object], verdict: str
) -> None:
    assert judged(tmp_path, delivered, changes).words == verdict


def test_rounds_are_paired(tmp_path: Path) -> None:
    found = judged(tmp_path, [100, 200, 300, 400, 500, 600], {})
    assert found.rounds == (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
    assert found.ours is not None and found.ours.median == pytest.approx(0.35)


@pytest.mark.parametrize(
    ("delivered", "changes", "reason"),
    [
        ([0] * 6, {}, "no run yet"),
        ([500], {"absent": "no such counter"}, "no such counter"),
        ([500], {"under": [{**TERM, "variant": "linux/none"}]}, "'linux/none' is no variant"),
        ([500], {"over": [{**TERM, "variant": "docker/none", "at": {"flows": 9}}]}, "0 points"),
        (
            [500],
            {"over": [{"experiment": "other", "variant": "docker/none"}]},
            "experiment 'other' was left out",
        ),
    ],
)
def test_what_is_absent_says_why(
    tmp_path: Path, delivered: list[int], changes: dict[str, object], reason: str
) -> None:
    found = judged(tmp_path, delivered, changes)
    assert found.verdict == "not measured" and reason in found.words


def test_every_finding_can_be_made_from_the_shipped_experiments() -> None:
    shipped = {part.name: part.experiment for part in suite.parts("paper", quick=False)}
    findings = load()
    assert len({each.id for each in findings}) == len(findings)
    assert {each.experiment for each in findings} <= set(shipped)
    for each in findings:
        for term in (*each.over, *each.under):
            experiment = shipped[term.experiment]
            assert Variant.parse(term.variant) in point_of(experiment, term.at).variants, each.id


@pytest.mark.parametrize("name", ["paper", "answers"])
def test_quick_forms_take_less_than_five_minutes(name: str) -> None:
    full, short = (suite.parts(name, quick=each) for each in (False, True))
    assert [part.name for part in short] == [part.name for part in full]
    assert sum(part.experiment.estimate() for part in short) < 280
    assert all(a.experiment.runs() > b.experiment.runs() for a, b in zip(full, short, strict=True))


def test_the_quick_form_is_what_its_section_says() -> None:
    full, short = parse(TEXT, "tiny"), parse(quick(TEXT), "tiny")
    assert (full.rounds, full.matrix.payload) == (6, (18,))
    assert (short.rounds, short.matrix.payload) == (2, (64,))
    for text, message in (
        ('form = "slow"\n' + TEXT, "form: choose from full, quick"),
        (quick(TEXT.replace("rounds = 2", "round = 2")), "unknown key 'round'"),
        (quick(TEXT).replace("quick = {", "quick = 3 # {"), "quick: a section is wanted"),
    ):
        with pytest.raises(BadInput, match=message):
            parse(text, "tiny")


def test_the_report_shows_both_values_and_what_failed(tmp_path: Path) -> None:
    parts = [part for part in suite.parts("paper", quick=True) if part.name in ("cpu", "stages")]
    path = suite.begin(tmp_path, "paper", parts)
    assert suite.held(path) == parts
    (path / "cpu" / FAILED).write_text("no perf here\n")
    stages = Results.open(path / "stages")
    point = stages.experiment.points()[0]
    stages.add(sample(point=point.id, variant="native/none"))
    stages.add_profile(
        point.id, Profile("native/none", 1.0, FREQUENCY, {0: {"GRO": FREQUENCY, "wire": 7}})
    )
    text = write(path, parts).read_text()
    assert "not measured: no perf here" in text
    # As many samples as packets: each takes the time to the next sample.
    assert f"| GRO | {1e9 / FREQUENCY:.0f} |" in text
    assert (path / "stages" / "plots" / "stages-0.png").is_file()
    with pytest.raises(BadInput, match="unknown experiment of 'paper' 'speed'"):
        suite.parts("paper", quick=True, wanted=["speed"])


def test_notes_stand_below_the_table(tmp_path: Path) -> None:
    lines = list(findings_table([judged(tmp_path, [500] * 3, {})]))
    assert lines[2] == f"| half | {DASH} | 0.500 | 0.500 [0.500, 0.500] | holds (weak) [1] |"
    assert lines[-1].startswith("1. half: 3 rounds can't support a verdict")
