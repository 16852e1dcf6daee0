"""docs/trust.md names tests that exist, and figures that were measured."""

import json
import re
import sys
from pathlib import Path

from bench.verify import SUITE
from bench.verify_kept import read, table

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests" / room) for room in ("faults", "lab", "matrix")]
import table as table_of_faults  # noqa: E402
from document import with_tables  # noqa: E402
from tried import rows  # noqa: E402

TEXT = (ROOT / "docs/trust.md").read_text()


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", TEXT)
    assert len(named) > 10
    for file, test in named:
        [path] = (ROOT / "tests").rglob(file)
        assert f"def {test}(" in path.read_text(), f"{file}::{test}"


def test_the_fuzzers_row_is_what_was_measured() -> None:
    found = json.loads((ROOT / "docs/results/trust/fuzz.json").read_text())
    keys = ("inputs", "seconds", "edges", "last_new_edge_at_input", "corpus", "crashes")
    assert "| " + " | ".join(f"{found[key]:,}" for key in keys) + " |" in TEXT
    assert found["corpus"] == len(list((ROOT / "tests/fuzz/corpus").iterdir()))


def test_the_comparisons_table_is_what_was_measured() -> None:
    """After `overspray verify … --keep docs/results/trust/verify.json`."""
    found = read(ROOT / "docs/results/trust/verify.json")
    assert table(found["parts"]) in TEXT, f"put this in:\n{table(found['parts'])}"
    assert f"`{found['command']}" in TEXT and found["kernel"] in TEXT
    assert {part["setup"] for part in found["parts"]} == set(map(str, SUITE))
    assert not any(part["findings"] for part in found["parts"])


def test_the_tables_are_what_was_measured() -> None:
    """Else: type 'python tests/faults/document.py'."""
    assert with_tables(TEXT) == TEXT


def test_every_fault_was_done() -> None:
    found = json.loads((ROOT / "docs/results/trust/faults.json").read_text())["faults"]
    assert [each["fault"] for each in found] == [each.name for each in table_of_faults.faults()]
    assert all(each["passed"] == each["moments"] >= 20 for each in found)


def test_the_readmes_kernels_are_those_of_the_matrix() -> None:
    found = json.loads((ROOT / "docs/results/trust/matrix.json").read_text())
    tried = (ROOT / "README.md").read_text().partition("Tried:")[2]
    emulated = [line for line in tried.splitlines() if ", emulated |" in line]
    assert emulated == rows(found)
    assert len({(cell["wanted"], cell["cores"]) for cell in found["cells"]}) == 6
    assert [cell["failed"] for cell in found["cells"]] == [{}] * 6
