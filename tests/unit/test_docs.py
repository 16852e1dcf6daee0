"""What the documents say is what the repository holds: figures come from saved runs, commands exist."""

import json
import re
from pathlib import Path

import pytest

from bench import report as reports
from bench import table
from bench.cli import build
from steering import policy

ROOT = Path(__file__).resolve().parents[2]
RUN = ROOT / "docs/results/single-flow"
README = (ROOT / "README.md").read_text()


def part(name: str) -> str:
    found = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- /{name} -->", README, re.S)
    assert found is not None, name
    return found[1].strip()


def made() -> reports.Part:
    [found] = reports.of([RUN]).parts
    return found


def at(label: str) -> list[table.Row]:
    return next(point.rows for point in made().points if point.label == label)


@pytest.mark.parametrize(
    ("name", "label"), [("table", "payload 18, sink count"), ("table-read", "payload 18, sink read")]
)
def test_the_readmes_tables_are_the_saved_runs(name: str, label: str) -> None:
    assert part(name) == table.as_markdown(at(label)).strip()


def test_the_readmes_sentences_are_the_saved_runs() -> None:
    assert [line.removeprefix("* ") for line in part("findings").splitlines()] == reports.sentences(made())


@pytest.mark.long
def test_tables_and_pictures_are_made_from_the_samples(tmp_path: Path) -> None:
    reports.write(reports.of([RUN]), tmp_path)
    drawn = [file for file in tmp_path.iterdir() if file.suffix in (".svg", ".md")]
    assert len(drawn) > 4
    for file in drawn:
        assert file.read_bytes() == (RUN / file.name).read_bytes(), file.name


def test_what_is_linked_is_there() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), ROOT / "CONTRIBUTING.md"):
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_every_command_that_is_named_exists() -> None:
    import typer

    commands = typer.main.get_command(build()).commands  # type: ignore[attr-defined]
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    named = {name for page in pages for name in re.findall(r"overspray ([a-z-]+)\b", page.read_text())}
    assert named - {"is", "picks"} <= set(commands)


@pytest.mark.parametrize(
    "page", ["README.md", "docs/measuring.md", "docs/experiments.md", "docs/policies.md", "docs/datapath.md"]
)
def test_no_page_names_this_machine(page: str) -> None:
    text = (ROOT / page).read_text()
    assert "/work/" not in text and "/root/" not in text


def test_the_results_page_has_the_comparisons_of_best_loads() -> None:
    text = (ROOT / "docs/results.md").read_text()
    [part] = reports.as_dict(reports.of([ROOT / "docs/results/one-flow"]))["parts"]
    saved = {(each["b"], each["a"], each["point"].split()[1]): each for each in part["comparisons"]}
    rows = text.partition("<!-- one-flow -->")[2].partition("<!-- /one-flow -->")[0].strip().splitlines()[2:]
    assert len(rows) == 9
    for row in rows:
        ours, other, sink, _, measured, verdict = (cell.strip(" `") for cell in row.strip("|").split("|"))
        found = saved[ours, other, sink]
        ratio = found["ratio"]
        assert measured == f"{ratio['median']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]"
        assert verdict == found["verdict"]


def test_the_results_page_has_the_saved_comparisons() -> None:
    text = (ROOT / "docs/results.md").read_text()
    for file in (ROOT / "docs/results/targets").glob("*.json"):
        found = json.loads(file.read_text())
        if isinstance(found, dict) and "verdict" in found:
            ratio = found["ratio"]
            shown = f"{ratio['median']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}] | {found['verdict']}"
            assert f"{shown} | {file.name} |" in text
            assert all("worker" not in row["drops"] for row in found["variants"].values())


def test_the_results_page_has_what_decisions_cost() -> None:
    text = (ROOT / "docs/results.md").read_text()
    rows = text.partition("<!-- cost -->")[2].partition("<!-- /cost -->")[0].strip().splitlines()[2:]
    saved = json.loads((ROOT / "docs/results/policies/cost.json").read_text())
    assert {each["policy"] for each in saved} == set(policy.names())
    for row, each in zip(rows, saved, strict=True):
        ns = each["parts"]["policy"]
        assert row == f"| `{each['policy']}` | {ns['median']:.0f} [{ns['low']:.0f}, {ns['high']:.0f}] |"


def test_the_results_page_has_the_shelf() -> None:
    text = (ROOT / "docs/results.md").read_text()
    [part] = reports.of([ROOT / "docs/results/policies"]).parts
    cells = {}
    for point in part.points:
        for line in table.as_markdown(point.rows).splitlines():
            name, *values = (cell.strip(" `") for cell in line.strip("|").split("|"))
            key = name.removeprefix("flannel/").removesuffix("+gro-list")
            cells[key, point.label.split()[-1]] = values
    shown = text.partition("| policy | 0.2 Mpps")[2].partition("\n\n")[0].splitlines()[2:]
    assert {row.split("`")[1].partition(":")[0] for row in shown} == {"none", "stock-best", *policy.names()}
    for row in shown:
        name, light, some, full = (cell.strip(" `") for cell in row.strip("|").split("|"))
        at = [cells[name, rate] for rate in ("200000", "1400000", "full")]
        assert light == f"{at[0][5]} µs, {at[0][9].replace(',', '')} ns"
        assert some == f"{at[1][0]} Mpps, {_percent(at[1][2])}, {at[1][5]} µs"
        assert full == f"{at[2][0]} Mpps, {_percent(at[2][2])}, {_percent(at[2][3])}"


def _percent(text: str) -> str:
    return text if text == "0" else f"{text} %"
