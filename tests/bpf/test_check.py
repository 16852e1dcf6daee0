"""``overspray policy check`` with the kernel's half: the shelf passes, and what it finds in others."""

import json
from pathlib import Path

import pytest
from commands import overspray
from owned import BODY_LINE, SLOT_LINE, own

from prototype import check as checks
from prototype.check import check
from steering import policy
from steering.spec import Spec


@pytest.mark.parametrize("name", policy.names())
def test_every_policy_of_the_shelf_passes(name: str) -> None:
    report = check(policy.find(Spec.parse(name)))
    assert [str(problem) for problem in report.problems] == []
    assert report.not_looked_at == ""
    assert report.decided >= 1_000_000 and report.compared >= 100_000


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traces in which a mistake is seen as well."""
    monkeypatch.setattr(checks, "PACKETS", 100_000)
    monkeypatch.setattr(checks, "_LONGEST", 10_000)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return (__u32)workers->worker[packet->hash].core;", "the verifier stopped here: R"),
        ("return nowhere;", "'nowhere' undeclared"),
    ],
)
def test_what_can_not_be_loaded_is_one_line(body: str, said: str, tmp_path: Path) -> None:
    mine = own(tmp_path / "mine", body)
    report = check(mine)
    assert str(report.problems[0]).startswith(f"{mine.header}:{BODY_LINE}: {said}")
    assert report.decided == 0, "what the verifier refuses is not run"


@pytest.mark.usefixtures("short")
def test_halves_that_differ_are_found(tmp_path: Path) -> None:
    """In slots where there are workers, in what they remember where there are none."""
    other = (
        "#ifdef OVERSPRAY_HOST\n    flow->seen = 1;\n    return 0;\n#else\n    return workers->count;\n#endif"
    )
    mine = own(tmp_path / "mine", other)
    [problem] = check(mine).problems
    assert str(problem).startswith(
        f"{mine.header}:{SLOT_LINE}: user space and kernel differ for 10000 packets:"
        " first packet 0, slot 0 and slot 2: trace 'two workers' with cell=1 (and 49 times more)"
    )


@pytest.mark.usefixtures("short")
def test_the_verifiers_count_is_compared_with_the_last(tmp_path: Path) -> None:
    mine = own(tmp_path / "mine")
    first, second = check(mine), check(mine)
    assert first.before is None and second.before == first.instructions == second.instructions


def test_a_person_who_follows_what_is_printed(tmp_path: Path) -> None:
    """From `new` to a check."""
    done = overspray("policy", "new", "mine", "--in", str(tmp_path))
    assert done.returncode == 0, done.stderr
    done = overspray("policy", "check", str(tmp_path / "mine"), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["ok"] and report["problems"] == [] and report["compared"] == 500_000
