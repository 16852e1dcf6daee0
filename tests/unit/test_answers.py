"""The three questions: the page is what the saved results give, and what it is made of."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import sample

from bench import answers_page, answers_words, fairness, frontier, suite
from bench.analysis import tables
from bench.answers_report import QUESTIONS, page, targets
from bench.cli import run
from bench.experiment import parse
from bench.histogram import count
from bench.neighbour import Neighbour, _chain
from bench.results import Results
from bench.sinks import ByFlow
from bench.text import DASH, TIMES
from bench.traffic import Traffic, weights
from steering.errors import BadInput
from steering.spec import Spec

ROOT = Path(__file__).parents[2]
KEPT = Path("docs/results/answers")
TEXT = """
name = "{name}"
title = "Tiny"
question = "?"
rounds = 6
baselines = ["none"]
plots = ["frontier"]
matrix = {{ rate = [1000], flows = [{flows}] }}
groups = [{{ cases = ["docker"], variants = ["none", "none+defer", "local", "local+defer"] }}]
"""
Make = Callable[..., Results]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def made(name: str, flows: int = 1, **fields: Any) -> Results:
        results = Results.begin(tmp_path / name, TEXT.format(name=name, flows=flows))
        (point,) = results.experiment.points()
        for number in range(6):
            for variant, change in fields.items():
                text = f"docker/{variant.replace('_', '+')}"
                common = {"point": point.id, "round": number, "offered": 900, "drops": {}}
                results.add(sample(**common, variant=text, **change))
        return results

    return made


def cost(polls: float, p99: float, **more: float) -> dict[str, Any]:
    return {"per_packet": {"polls": polls, "softirqs": polls} | more, "latency": {"p99": p99 * 1e3}}


def test_the_text_is_what_the_saved_results_give(monkeypatch: pytest.MonkeyPatch) -> None:
    """After new measurements: overspray answers --page docs/results/answers > docs/answers.md"""
    monkeypatch.chdir(ROOT)
    text = (ROOT / "docs/answers.md").read_text()
    assert text == answers_page.page(KEPT)
    assert (KEPT / "report.md").read_text() == page(KEPT)
    assert len(text.splitlines()) <= 110, "two pages: the rest belongs into the report"
    for plot in re.findall(r"\]\((\S+\.png)\)", text):
        assert (ROOT / "docs" / plot).is_file()


def test_a_changed_run_changes_the_page(make: Make, tmp_path: Path) -> None:
    results = make("coalescing", none=cost(3, 20), local=cost(1, 10))
    before = page(tmp_path)
    assert "| `docker/none` | 3.00 [3.00, 3.00] |" in before
    file = results.path / "samples.jsonl"
    file.write_text(file.read_text().replace('"polls":3', '"polls":9'))
    assert page(tmp_path) != before


SHOWN = """
[three]
answer = "It needs {{coalescing | {point} | docker/local | polls}}."
holds = "one kernel."
plots = ["coalescing/plots/frontier.png"]
[[three.tables]]
experiment = "coalescing"
point = "{point}"
variants = ["docker/none", "docker/local"]
figures = ["polls", "chase"]
ratio = "polls"
against = ["docker/none"]
"""


def test_the_page_shows_the_rows_that_were_chosen(make: Make, tmp_path: Path) -> None:
    results = make("coalescing", none=cost(3, 20), local=cost(1, 10))
    (point,) = results.experiment.points()
    (tmp_path / answers_words.WORDS).write_text(SHOWN.format(point=point.title))
    text = answers_page.page(tmp_path)
    assert "It needs 1.00 [1.00, 1.00]." in text and "*On what it holds:* one kernel." in text
    assert f"![frontier]({tmp_path}/coalescing/plots/frontier.png)" in text
    assert f"| `docker/none` | 3.00 [3.00, 3.00] | {DASH} | {DASH} |" in text
    ratio = f"0.333{TIMES} [0.333, 0.333] better"
    assert f"| `docker/local` | 1.00 [1.00, 1.00] | {DASH} | {ratio} |" in text
    assert f"`overspray answers coalescing`, kept in {tmp_path / 'coalescing'}: 6 rounds" in text


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('holds = "', 'hodls = "', "unknown field 'hodls'"),
        ("experiment = ", "experiments = ", r"answers\.toml: .*experiments"),
        ("docker/none", "docker/pin", "unknown variant 'docker/pin'"),
        ('"polls",', '"pools",', "unknown figure 'pools'"),
    ],
)
def test_a_row_that_is_none_is_refused(
    make: Make, tmp_path: Path, before: str, after: str, said: str
) -> None:
    (point,) = make("coalescing", none=cost(3, 20), local=cost(1, 10)).experiment.points()
    text = SHOWN.format(point=point.title).replace(before, after)
    (tmp_path / answers_words.WORDS).write_text(text)
    with pytest.raises(BadInput, match=said):
        answers_page.page(tmp_path)


def test_what_is_absent_says_so_and_words_come_from_their_file(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["answers", "--page", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert text.count("Not answered yet.") == len(QUESTIONS)
    assert all(question.title in text for question in QUESTIONS)
    text = page(tmp_path)
    for question in QUESTIONS:
        for name in question.experiments:
            assert f"`{name}`: not yet measured." in text
    make("equal")
    (tmp_path / answers_words.WORDS).write_text('[two]\nanswer = "It can."\n')
    text = page(tmp_path)
    assert "It can." in text and "Not yet measured: no run yet." in text
    (tmp_path / answers_words.WORDS).write_text("two = ")
    with pytest.raises(BadInput, match=r"answers\.toml: not TOML"):
        page(tmp_path)


def test_every_experiment_belongs_to_a_question() -> None:
    asked = {name for question in QUESTIONS for name in question.experiments}
    assert asked == {part.name for part in suite.parts("answers", quick=False)}


def test_work_in_threads_counts(make: Make) -> None:
    results = make(
        "coalescing",
        none=cost(3, 20),
        none_defer=cost(1, 60),
        local=cost(0.2, 15, bulks=2.0),
        local_defer=cost(0.25, 50),
    )
    (table,) = tables(results.samples(), results.experiment)
    work = {row.variant.label: frontier.place(row)[0] for row in table.rows}
    assert work["local"] == pytest.approx(2.2)
    edge = frontier.best(table.rows)
    assert [row.variant.label for row in edge] == ["local +defer", "local"]
    lines = list(targets(table))
    assert lines[0] == "* Of stock's 2 points on the frontier ours lies below 2."
    assert "`local +defer` 0.250 and `none +defer` 1.00 (4.00 times)" in lines[1]


def test_the_frontier_is_drawn(make: Make, tmp_path: Path) -> None:
    make("coalescing", none=cost(3, 20), local=cost(1, 10))
    text = page(tmp_path, draw=True)
    assert "![frontier](coalescing/plots/frontier.png)" in text
    svg = (tmp_path / "coalescing/plots/frontier.svg").read_text()
    assert "<!-- local -->" in svg and "<!-- veth, live frames -->" in svg


def test_a_victim_is_told_from_the_elephant(make: Make, tmp_path: Path) -> None:
    flows = {"jain": 0.5, "others": 2e6, "p50": 1e3, "p99": 9e3, "p99.9": 1e4, "least": 0.3}
    make("elephant", flows=9, none={"flows": flows}, local={"flows": flows | {"p99": 4500.0}})
    text = page(tmp_path)
    assert "others' p99, µs" in text and "| 4.50 [4.50, 4.50] |" in text
    assert "0.500\N{MULTIPLICATION SIGN} [0.500, 0.500] better" in text


def test_shares_are_by_weight() -> None:
    traffic = Traffic(64, 3, 1000, Spec.parse("constant:heavy=8"))
    assert weights(traffic) == [8, 1, 1]
    others = count(np.full(100, 5000))
    fair = fairness.of(ByFlow(np.array([800, 100, 100], np.uint64), others), traffic, 2.0)
    assert fair["jain"] == fair["least"] == 1
    assert (fair["first"], fair["others"]) == (400, 100)
    assert fair["p99"] == pytest.approx(5000, rel=0.02)
    unfair = fairness.of(ByFlow(np.array([900, 100], np.uint64), others), traffic, 2.0)
    assert unfair["jain"] < 0.7 and unfair["least"] == 0
    assert fairness.of(ByFlow(), traffic, 1.0) == {}


@pytest.mark.parametrize(("shares", "index"), [([1, 1, 1], 1), ([5, 0, 0, 0], 0.25), ([0], 0)])
def test_jain(shares: list[float], index: float) -> None:
    assert fairness.jain(shares) == pytest.approx(index)


def test_the_chase_goes_through_all_memory() -> None:
    chain = _chain(1 << 14)
    at, seen = 0, set()
    while at not in seen:
        seen.add(at)
        at = int(chain[at])
    assert (at, len(seen)) == (0, (1 << 14) // 64)


@pytest.mark.parametrize(("name", "figure"), [("chase", "chase_ns"), ("stream", "stream_gbs")])
def test_a_neighbour_tells_how_it_fared(name: str, figure: str) -> None:
    neighbour = Neighbour(Spec.parse(f"{name}:kib=64,core=0"))
    neighbour.start()
    try:
        while neighbour.told()[figure] == 0:
            pass
        assert neighbour.told()[figure] > 0
    finally:
        neighbour.stop()
    assert neighbour.told() == {}


def test_a_neighbour_is_an_axis() -> None:
    text = TEXT.format(name="n", flows=1).replace(
        "rate = [1000]", 'rate = [1000], neighbour = ["none", "chase:kib=64"]'
    )
    alone, beside = parse(text, "n").points()
    assert "beside" not in alone.id and beside.id.endswith(", beside chase:kib=64")
    assert beside.title.endswith("beside chase:kib=64")
    with pytest.raises(BadInput, match=r"matrix\.neighbour\.1: unknown neighbour 'cat'"):
        parse(text.replace("chase:kib=64", "cat"), "n")
