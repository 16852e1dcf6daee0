"""Reports come from the files alone: tables as recorded, plots of each kind, one page in itself."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from samples import sample

from bench.cli import run
from bench.experiment import parse
from bench.plots import draw
from bench.report import Report, html, markdown
from bench.results import Results
from bench.trade import label, shows

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/golden/single_flow"
"""After a change that is meant: overspray report DIR --format md > DIR/report.md"""

TINY = """
name = "tiny"
title = "Tiny <b>& bold</b>"
question = "Is it escaped?"
rounds = 6
baselines = ["none"]
plots = ["throughput", "ratio"]
[[groups]]
cases = ["docker"]
variants = ["none", "local"]
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Results:
    results = Results.create(tmp_path, "tiny", TINY)
    for n in range(6):
        results.add(sample(round=n))
        results.add(sample(round=n, variant="docker/local", offered=1900, delivered=1800))
    return results


RECORDS = sorted(path.parent for path in (ROOT / "docs/results").glob("*/samples.jsonl"))


@pytest.mark.parametrize("record", [GOLDEN, *RECORDS], ids=lambda path: path.name)
def test_tables_are_those_on_record(record: Path) -> None:
    """Those of the docs too: what they show is what their raw samples give."""
    assert markdown(Report(Results.open(record))) == (record / "report.md").read_text().rstrip()


def test_a_picture_of_the_trade(tmp_path: Path) -> None:
    found = Report(Results.open(GOLDEN))
    drawn = draw(found.tables, found.experiment.model_copy(update={"plots": ("trade",)}), tmp_path)
    assert [picture.name for picture in drawn] == ["trade"]
    for suffix in (".png", ".svg"):
        assert drawn[0].path.with_suffix(suffix).stat().st_size > 5000
    svg = drawn[0].path.with_suffix(".svg").read_text()
    rows = [row for row in found.tables[0].rows if shows(row)]
    labels = {label(row, rows) for row in rows}
    assert labels and all(f"<!-- {text} -->" in svg for text in labels)


class Page(HTMLParser):
    """Counts what matters of a page and checks that every element is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.tags: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(text: str) -> Page:
    page = Page()
    page.feed(text)
    assert page.open == []
    return page


def test_one_page_holds_everything(tmp_path: Path) -> None:
    assert run(["report", str(GOLDEN), "--output", str(tmp_path)]) == 0
    report = Report(Results.open(GOLDEN))
    page = page_of((tmp_path / "report.html").read_text())
    assert page.tags.isdisjoint({"script", "link", "iframe"})
    assert all(source.startswith("data:image/svg+xml;base64,") for source in page.sources)
    drawn = sorted(path.stem for path in (tmp_path / "plots").glob("*.png"))
    assert drawn == sorted(path.stem for path in (tmp_path / "plots").glob("*.svg"))
    assert len(page.sources) == len(drawn) >= len(report.experiment.plots)
    for variant in report.experiment.variants():
        assert variant.label in page.text
    for table in report.tables:
        assert table.title in page.text
    # Every rate has order, loss, latency and CPU cost beside it.
    for head in ("lost, %", "overtaken, %", "late by, packets", "p99.9, µs", "CPU, ns/packet"):
        assert page.text.count(head) >= len(report.tables)


def test_axes_name_their_source_and_files_do_not_change(tmp_path: Path) -> None:
    report = Report(Results.open(GOLDEN))
    experiment = report.experiment.model_copy(update={"plots": ("order", "cpu")})
    plots = draw(report.tables, experiment, tmp_path / "one")
    again = draw(report.tables, experiment, tmp_path / "two")
    for plot, other in zip(plots, again, strict=True):
        svg = plot.path.with_suffix(".svg").read_bytes()
        assert svg == other.path.with_suffix(".svg").read_bytes()
        # Letters are paths; matplotlib leaves the text beside them as a comment.
        assert svg.count(b"<!-- veth, live frames -->") == len(report.tables)
        assert plot.path.with_suffix(".png").read_bytes()[1:4] == b"PNG"


def test_sources_never_share_a_figure(tiny: Results, tmp_path: Path) -> None:
    for n in range(6):
        for variant in ("docker/none", "docker/local"):
            # The same runs in the twin: another round number keeps them apart in the file.
            tiny.add(sample(round=6 + n, variant=variant, source="twin"))
    report = Report(tiny)
    assert {table.source for table in report.tables} == {"veth", "twin"}
    assert all(len(row.samples) == 6 for table in report.tables for row in table.rows)
    plots = draw(report.tables, report.experiment, tmp_path / "plots")
    texts = [plot.path.with_suffix(".svg").read_text() for plot in plots]
    assert len(texts) == len({plot.path for plot in plots}) == 4
    assert all(("live frames -->" in text) != ("twin, simulated -->" in text) for text in texts)


def test_text_from_files_is_escaped(tiny: Results) -> None:
    page = html(Report(tiny), [])
    assert "<b>&" not in page
    assert "&lt;b&gt;&amp; bold&lt;/b&gt;" in page
    page_of(page)


def test_warnings_name_what_weakens_a_result(tmp_path: Path) -> None:
    results = Results.create(tmp_path, "tiny", TINY)
    for n in range(5):
        results.add(sample(round=n, invalid=["the wire is the limit"] if n in (1, 3) else []))
        results.add(sample(round=n, variant="docker/local", delivered=800))
    results.add_fingerprint("before", {"kernel": "6.1", "cores": [0, 1]})
    results.add_fingerprint("after", {"kernel": "6.2", "cores": [0, 1]})
    assert Report(results).warnings() == [
        "2 of 12 runs are missing: it was not finished",
        "invalid: docker/none at UDP, 18 B, 1 flow, best load: the wire is the limit (rounds 1, 3)",
        "invalid: docker/local at UDP, 18 B, 1 flow, best load: "
        "100 packets unaccounted for (every round)",
        "docker/local against none at UDP, 18 B, 1 flow, best load: "
        "5 rounds can't support a verdict: use at least 6",
        "the host changed while it measured: kernel: 6.1 became 6.2",
    ]
    assert "the wire is the limit" in markdown(Report(results))


def test_our_best_is_named(tiny: Results) -> None:
    ((table, (best,)),) = Report(tiny).answers()
    assert (table.title, best.variant.label) == ("UDP, 18 B, 1 flow, best load", "local")
    assert best.against["none"].verdict == "better"
    assert best.against["none"].ratio.median == 2
    assert re.search(r"2\.00. \[2\.00, 2\.00\] better", markdown(Report(tiny)))


def test_without_ours_or_order_or_latency(tmp_path: Path) -> None:
    text = TINY.replace('"none", "local"', '"none", "rps"').replace(
        '"throughput", "ratio"', '"throughput", "order", "latency", "cpu", "loss"'
    )
    results = Results.create(tmp_path, "stock", text)
    results.add(sample(order={}, latency={}, cores={}, drops={}, offered=900))
    report = Report(results)
    assert report.answers() == []
    drawn = draw(report.tables, parse(text, "stock"), tmp_path / "plots")
    assert [plot.name for plot in drawn] == ["throughput", "loss"]
    page_of(html(report, drawn))
    assert "overtaken" not in markdown(report)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("samples.jsonl", "line 1: damaged: not JSON"),
        ("experiment.toml", "not TOML"),
    ],
)
def test_a_damaged_result_is_one_line_and_exit_code_2(
    tiny: Results, damage: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tiny.path / damage).write_text("{\n")
    for form in ("md", "html"):
        assert run(["report", str(tiny.path), "--format", form]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert message in captured.err
        assert captured.err.count("\n") == 1
    assert not (tiny.path / "report.html").exists()


def test_an_empty_result_and_an_unwritable_place(
    tmp_path: Path, tiny: Results, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = Results.create(tmp_path, "empty", TINY)
    assert run(["report", str(empty.path)]) == 2
    assert "has no runs yet" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert run(["report", str(tiny.path), "--output", str(tmp_path / "file" / "x")]) == 2
    assert "can't write the report" in capsys.readouterr().err
    assert run(["report", str(tmp_path / "nowhere")]) == 2
    assert "is no result directory" in capsys.readouterr().err
