"""What the documents say is what the repository holds: figures come from saved runs, commands exist."""

import json
import re
from pathlib import Path

import pytest

from bench import findings, plots, table
from bench.cli import build
from bench.results import Loaded, load

ROOT = Path(__file__).resolve().parents[2]
RUN = ROOT / "docs/results/first-flow"
README = (ROOT / "README.md").read_text()


def part(name: str) -> str:
    found = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- /{name} -->", README, re.S)
    assert found is not None, name
    return found[1].strip()


OURS = "backlog+gro-list"
PAIRS = (
    (f"flannel/{OURS}", "flannel/none"),
    (f"flannel/{OURS}", "flannel/none+gro-list"),
    (f"flannel/{OURS}", "native/none"),
    (f"docker/{OURS}", "docker/none+gro-list"),
)
"""What the sentences compare: the saved run is of a format that did not keep it."""


def rows(kept: Loaded) -> list[table.Row]:
    return table.rows(kept.samples, kept.description["baseline"])


def sentences(kept: Loaded) -> list[str]:
    each = (findings.found(kept.samples, pair, kept.description["seed"]) for pair in PAIRS)
    return findings.sentences([one for one in each if one])


def test_the_readmes_table_is_the_saved_runs() -> None:
    assert part("table") == table.as_markdown(rows(load(RUN))).strip()


def test_the_readmes_sentences_are_the_saved_runs() -> None:
    said = [line.removeprefix("* ") for line in part("findings").splitlines()]
    assert said == sentences(load(RUN))


def test_table_and_picture_are_made_from_the_samples(tmp_path: Path) -> None:
    kept = load(RUN)
    sent = plots.Sent(kept.description["traffic"]["payload"], kept.description["traffic"]["flows"])
    plots.draw(rows(kept), kept.description["baseline"], sent, tmp_path / "rates")
    assert (tmp_path / "rates.svg").read_bytes() == (RUN / "rates.svg").read_bytes()
    text = "\n".join([*(f"{line}\n" for line in sentences(kept)), table.as_markdown(rows(kept))])
    assert text == (RUN / "table.md").read_text()


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


def test_the_results_page_has_the_saved_comparisons() -> None:
    text = (ROOT / "docs/results.md").read_text()
    for file in (ROOT / "docs/results/targets").glob("*.json"):
        found = json.loads(file.read_text())
        if isinstance(found, dict) and "verdict" in found:
            ratio = found["ratio"]
            shown = f"{ratio['median']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}] | {found['verdict']}"
            assert f"{shown} | {file.name} |" in text
            assert all("worker" not in row["drops"] for row in found["variants"].values())
