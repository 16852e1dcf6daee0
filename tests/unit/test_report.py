"""A report from files alone: what is pooled, what is not, what is said, and the page."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from bench import page
from bench import report as reports
from bench.cli import run
from bench.experiment import Experiment
from bench.fingerprint import fingerprint, unlike
from bench.results import Results
from steering.errors import BadInput

ROOT = Path(__file__).resolve().parents[2]
BASELINE, OURS = "flannel/none", "flannel/backlog+gro-list"
ODD = "flannel/@/tmp/<b>&\"x'"
EVIL = "<script>alert(1)</script>"
HOST = fingerprint()


def asked(**others: Any) -> Experiment:
    given: dict[str, Any] = {
        **{"title": "One flow", "question": "Which is faster?", "variants": (BASELINE, OURS, ODD)},
        **{"baseline": BASELINE, "pairs": ((OURS, BASELINE),), "rounds": 6, "seconds": 0.5},
        **{"plot": ("rates", "x = payload"), "traffic": {"payload": [18, 1400]}},
        **others,
    }
    return Experiment(**given)


def measured(
    experiment: Experiment, variant: str, number: int, drift: float, **others: Any
) -> dict[str, Any]:
    mpps = {BASELINE: 0.5, OURS: 2.0}.get(variant, 0.25) * (1 + drift + number / 64)
    return {
        **{"variant": variant, "round": number, "seconds": experiment.seconds, "offered": 1000},
        **{"delivered": 900, "bytes": 16200, "rate": mpps * 1e6, "offered_rate": mpps * 1e6},
        **{
            "drops": {"worker": {EVIL: 100}} if variant == ODD else {},
            "order": {"reordered": 0.25, "extent_p99": 9},
        },
        **{
            "latency": {"p50": 41_000.0, "p99": 90_000.0},
            "per_packet": {},
            "wire_share": 0.25,
            "limited": False,
        },
        **{"cores": {"0": {"softirq": 0.75, "wire": 0.25}, "1": {"cpumap": 0.5, "idle": 0.5}}},
        **{"settings": {"nic0 mtu": "1600", "nic0 rx-gro": "on" if variant == OURS else EVIL}, "invalid": []},
        **others,
    }


def saved(directory: Path, experiment: Experiment | None = None, drift: float = 0.0, **host: Any) -> Path:
    """A finished run whose rounds are as alike as can be."""
    experiment = experiment or asked()
    made = Results(directory)
    made.describe({**experiment.as_dict(), "command": f"overspray bench {EVIL}"})
    for when in ("before", "after"):
        (directory / f"fingerprint-{when}.json").write_text(json.dumps({**HOST, **host}))
    for batch in range(experiment.batches):
        for point in experiment.points:
            for number in range(experiment.rounds):
                for variant in reversed(experiment.variants):
                    about = {"batch": batch, "point": point, "session": 1}
                    made.add(measured(experiment, variant, number, drift, **about))
    return directory


def test_each_point_has_its_rows_in_the_order_of_the_description(tmp_path: Path) -> None:
    [part] = reports.of([saved(tmp_path)]).parts
    assert [at.label for at in part.points] == ["payload 18", "payload 1400"]
    assert [row.variant for row in part.points[1].rows] == [BASELINE, OURS, ODD]
    [sentence] = reports.sentences(part)
    assert sentence == (
        f"{OURS} delivers, each as times {BASELINE}: 2.08 Mpps, 4.00 [4.00, 4.00] at payload 18 (better); "
        "2.08 Mpps, 4.00 [4.00, 4.00] at payload 1400 (better)."
    )


def test_of_many_points_the_range_is_told(tmp_path: Path) -> None:
    experiment = asked(traffic={"payload": [18, 100, 200, 300]})
    [part] = reports.of([saved(tmp_path, experiment)]).parts
    [sentence] = reports.sentences(part)
    assert "of 4 points better at 4." in sentence


def test_alike_hosts_are_pooled_as_batches(tmp_path: Path) -> None:
    found = reports.of(
        [saved(tmp_path / name, asked(batches=2), drift) for name, drift in (("a", 0), ("b", 0.5))]
    )
    [part] = found.parts
    assert (part.batches, found.notes) == (4, ())
    assert "pooled from 2 directories" in part.notes[-1]
    row = part.points[0].rows[1]
    assert len(row.rates) == 24
    assert row.ratio is not None and (row.ratio.low, row.ratio.high) == pytest.approx((4, 4))
    assert part.found[0].result.rounds == 24


@pytest.mark.parametrize(
    "host",
    [
        {"kernel": "1.2.3"},
        {"cpu": "abacus"},
        {"cores": [0]},
        {"sysctls": {**HOST["sysctls"], "net.core.dev_weight": "9999"}},
    ],
)
def test_unlike_hosts_are_never_pooled(tmp_path: Path, host: dict[str, Any]) -> None:
    found = reports.of([saved(tmp_path / "a"), saved(tmp_path / "b", drift=0.5, **host)])
    assert [part.batches for part in found.parts] == [1, 1]
    name = "net.core.dev_weight" if "sysctls" in host else next(iter(host))
    assert re.search(rf"b' is not pooled with '.*a': another host \({name}: ", found.notes[0])


def test_unlike_hosts_stand_side_by_side(tmp_path: Path) -> None:
    one = asked(traffic={}, plot=("rates",))
    directories = [saved(tmp_path / "a", one), saved(tmp_path / "b", one, 0.5, kernel="1.2.3")]
    files = reports.write(reports.of(directories), tmp_path / "out")
    assert {"part1-rates.svg", "part2-rates.svg", "part1-table.md"} < {file.name for file in files}
    text = files[0].read_text()
    assert "Side by side, not pooled" in text and "another host (kernel: " in text
    assert text.count("<article>") == 2


def test_load_and_versions_of_the_same_host_do_not_matter(tmp_path: Path) -> None:
    other = saved(tmp_path / "b", drift=0.5, load=[9, 9, 9], commit="abc", cpu_seconds={})
    [part] = reports.of([saved(tmp_path / "a"), other]).parts
    assert (
        part.notes[-1].startswith("measured by several versions of the source: ") and "abc" in part.notes[-1]
    )


def test_other_experiments_are_not_pooled(tmp_path: Path) -> None:
    found = reports.of([saved(tmp_path / "a"), saved(tmp_path / "b", asked(seconds=1.0), 0.5)])
    assert "another experiment (seconds differ)" in found.notes[0]


def test_the_same_runs_count_once(tmp_path: Path) -> None:
    saved(tmp_path / "a")
    saved(tmp_path / "b")
    with pytest.raises(BadInput, match="hold the same runs: name one of them"):
        reports.of([tmp_path / "a", tmp_path / "b"])
    with pytest.raises(BadInput, match="named twice"):
        reports.of([tmp_path / "a", tmp_path / "a/../a"])


def first_line(edit: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def act(directory: Path) -> None:
        file = directory / "samples.jsonl"
        line, *others = file.read_text().splitlines()
        sample = json.loads(line)
        edit(sample)
        file.write_text("\n".join([json.dumps(sample), *others, ""]))

    return act


def description(**others: Any) -> Callable[[Path], None]:
    def act(directory: Path) -> None:
        file = directory / "experiment.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **others}))

    return act


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (description(format=99), "experiment.json' is of format 99, newer than 2"),
        (description(rounds="many"), "experiment.json': 'rounds' is 'many': write a whole number"),
        (description(color="red"), "experiment.json': unknown key 'color': choose from baseline"),
        (description(traffic={"speed": 3}), "experiment.json': [traffic] unknown axis 'speed': choose from"),
        (first_line(lambda sample: sample.update(variant="x")), "a run of x in round 0 at payload 18"),
        (first_line(lambda sample: sample.update(round=6)), "in round 6 at payload 18"),
        (first_line(lambda sample: sample.update(batch=1)), "which '"),
        (first_line(lambda sample: sample.update(point={"payload": 77})), "at payload 77, which '"),
        (first_line(lambda sample: sample.update(rate="fast")), "samples.jsonl', line 1, is damaged"),
        (lambda directory: (directory / "samples.jsonl").unlink(), "samples.jsonl' is missing"),
        (
            lambda directory: (directory / "fingerprint-after.json").write_text("[]"),
            "fingerprint-after.json' is dam",
        ),
    ],
)
def test_what_is_damaged_foreign_or_newer_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], None], words: str
) -> None:
    damage(saved(tmp_path / "a"))
    assert run(["report", str(tmp_path / "a")]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1
    assert not (tmp_path / "a/report.html").exists()


def test_a_run_that_did_not_end_is_reported_as_such(tmp_path: Path) -> None:
    directory = saved(tmp_path)
    (directory / "fingerprint-after.json").unlink()
    file = directory / "samples.jsonl"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:-2], lines[-2][:40]]))
    [part] = reports.of([directory]).parts
    assert any("unfinished: 2 of 36 runs are missing" in note for note in part.notes)
    assert any("is torn, and left out" in note for note in part.notes)
    file.write_text("\n".join([*lines[:18], ""]))
    [part] = reports.of([directory]).parts
    assert [at.label for at in part.points] == ["payload 18"]
    assert any("payload 1400: left out" in note for note in part.notes)


def test_a_round_of_two_sessions_is_told(tmp_path: Path) -> None:
    first_line(lambda sample: sample.update(session=2))(saved(tmp_path))
    [part] = reports.of([tmp_path]).parts
    assert any("1 of 12 rounds" in note and "completed in a later session" in note for note in part.notes)


class Page(HTMLParser):
    """What a browser would see of it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open += [tag] * (tag not in ("meta", "br"))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, self.getpos()

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = saved(tmp_path_factory.mktemp("runs") / "a", asked(title=EVIL, question=EVIL))
    reports.write(reports.of([directory]), directory)
    return directory


@pytest.fixture(scope="module")
def text(written: Path) -> str:
    return (written / "report.html").read_text()


def test_tables_and_pictures_are_beside_the_page(written: Path) -> None:
    made = {file.name for file in written.iterdir()}
    kinds = ("png", "svg")
    assert made >= {f"rates-payload_{payload}.{kind}" for payload in (18, 1400) for kind in kinds}
    assert made >= {"table.md", "over-payload.png", "over-payload.svg"}


def test_what_is_opened_is_closed(text: str) -> None:
    assert Page(text).open == []


def test_nothing_is_fetched(text: str) -> None:
    seen = Page(text)
    policies = [found.get("content") for tag, found in seen.tags if tag == "meta" and "http-equiv" in found]
    assert [(policy or "").startswith("default-src 'none'") for policy in policies] == [True]
    assert not {tag for tag, _ in seen.tags} & {"link", "img", "iframe", "object", "embed", "base", "image"}
    for tag, found in seen.tags:
        for name, value in found.items():
            if name in ("src", "href", "xlink:href", "action", "data", "srcset", "poster"):
                assert (value or "").startswith("#"), (tag, name, value)
    assert "@import" not in text
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))


def test_every_picture_is_xml_with_ids_of_its_own(text: str) -> None:
    found = re.findall(r"<svg.*?</svg>", text, re.S)
    assert len(found) == 1 + 2 * 2, "over payload; rates and cores at two points"
    for svg in found:
        root = ElementTree.fromstring(svg)
        assert root.tag.endswith("svg") and root.get("viewBox") and root.get("aria-label")
        assert root.get("width") is None, "it is as wide as the page"
        assert not any(each.tag.endswith("metadata") for each in root.iter())
        ids = {each.get("id") for each in root.iter()}
        for each in root.iter():
            reference = each.get("{http://www.w3.org/1999/xlink}href")
            assert reference is None or reference[1:] in ids
    every = re.findall(r'\bid="([^"]*)"', text)
    assert len(every) == len(set(every))
    assert ODD.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") in found[0]


def test_what_comes_from_files_is_escaped(text: str) -> None:
    seen = Page(text)
    assert sum(tag == "script" for tag, _ in seen.tags) == 1 and EVIL not in text
    words = "".join(seen.words)
    assert words.count(EVIL) >= 5, "title, question, a loss, a setting, the command"
    assert ODD in words


def test_tables_can_be_sorted_by_key_and_by_click(text: str) -> None:
    seen = Page(text)
    heads = [found for tag, found in seen.tags if tag == "th" and found.get("scope") == "col"]
    assert heads and all(found["aria-sort"] == "none" for found in heads)
    assert sum(tag == "button" for tag, _ in seen.tags) == len(heads)
    cells = [found for tag, found in seen.tags if tag == "td"]
    assert cells and all("data-sort" in found for found in cells)
    for table in re.findall(r"<table.*?</table>", text, re.S):
        lines = re.findall(r"<tr>.*?</tr>", table, re.S)
        assert len({len(re.findall("<t[hd] ", line)) for line in lines}) == 1
    row = re.search(rf'<th scope="row" data-sort="{re.escape(OURS)}">.*?</tr>', text, re.S)
    assert row is not None
    assert re.findall(r'data-sort="([^"]*)"', row[0])[1:4] == ["2.08", "4.00", "10"]


def test_it_is_light_or_dark_and_fits_a_small_screen(text: str) -> None:
    assert "prefers-color-scheme: dark" in text and 'name="viewport"' in text
    dark = set(re.findall(r"--x([0-9a-f]{6}):", text))
    drawn = set(re.findall(r"var\(--x([0-9a-f]{6}), #", text))
    assert {"1f2933", "ffffff", "e4e7eb"} <= dark & drawn, "ink, paper and grid change"


def test_the_first_saved_run_has_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is of format 1: no title, no points, no batches."""
    saved_run = ROOT / "docs/results/first-flow"
    before = {file.name: file.read_bytes() for file in saved_run.iterdir()}
    assert run(["report", str(saved_run), "--out", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    [part] = found["parts"]
    assert len(part["points"][0]["rows"]) == 10 and part["points"][0]["label"] == ""
    assert (tmp_path / "rates.svg").read_bytes() == before["rates.svg"]
    assert {file.name: file.read_bytes() for file in saved_run.iterdir()} == before


def test_several_directories_need_a_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    assert "--out DIRECTORY" in capsys.readouterr().err


def test_where_nothing_can_be_written_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved(tmp_path / "a")
    (tmp_path / "file").touch()
    assert run(["report", str(tmp_path / "a"), "--out", str(tmp_path / "file/below")]) == 2
    assert "can't write the report to '" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("cell", "key"),
    [
        ("2.65 [2.60, 2.71]", "2.65"),
        ("12,300", "12300"),
        ("<0.01", "0.01"),
        ("0.01%", "0.01"),
        ("100 97", "100"),
        ("veth0.tx_dropped", "veth0.tx_dropped"),
        ("6.18.44-x", "6.18.44-x"),
        ("84cd", "84cd"),
        ("\N{EN DASH}", ""),
    ],
)
def test_a_cell_is_sorted_by_the_number_that_it_opens_with(cell: str, key: str) -> None:
    assert page._key(cell) == key


def test_what_runs_set_for_themselves_is_no_other_host() -> None:
    """RFS is a variant: another run, or a killed one, may have it on."""
    name = "net.core.rps_sock_flow_entries"
    one, two = ({**HOST, "sysctls": {**HOST["sysctls"], name: value}} for value in ("0", "32768"))
    assert unlike(one, two) == []
