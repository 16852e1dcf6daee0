"""`overspray policy`: what it lists, shows and writes, and what `check` says without root."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from bench import check_order, policy_table
from bench.check import examine, folder_of
from bench.check_decisions import HOSTED_PACKETS, KERNEL_PACKETS, segments
from bench.cli import run
from steering import halves, trace
from steering.hosted import Hosted
from steering.plan import COMMON
from steering.registry import SHELF, find, names
from steering.spec import Spec
from steering.stock import STEERING

PYTHON = """from steering.policy import Knob, Need, Order, Policy

POLICY = Policy(
    summary="made up",
    order=Order.UNORDERED,
    knobs={
        "cell": Knob(4, 1, 9, "packets", "length"),
    },
    good="tests",
    drowns="always",
)
"""
C = """/* mine: made up. */
struct policy_flow { __u32 n; };
struct policy_core { __u32 n; };
static ALWAYS_INLINE __u32 policy_slot(const struct packet *packet, const struct knobs *knobs,
\t\tstruct policy_flow *flow, struct policy_core *core, const struct workers *workers)
{
\tDECISION
}
"""


@pytest.fixture(autouse=True)
def no_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As a person without root; the kernel may not be touched, nor the person's own files."""

    def touched(*_: object, **__: object) -> None:
        raise AssertionError("the kernel is touched without root")

    monkeypatch.setattr("bench.check.Module", touched)
    monkeypatch.setattr("bench.check.InKernel", touched)
    monkeypatch.setattr("bench.check.os.geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def written(folder: Path, decision: str = "return 0;", python: str = PYTHON, c: str = C) -> Path:
    mine = folder / "mine"
    mine.mkdir(exist_ok=True)
    (mine / "policy.py").write_text(python)
    (mine / "policy.h").write_text(c.replace("DECISION", decision))
    return mine


def problems(folder: Path) -> list[str]:
    return [str(fault).replace(str(folder) + "/", "") for fault in examine(folder).faults]


def test_list_has_stock_and_ours(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["policy", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["policies"]
    stock = [row["name"] for row in rows if row["kind"] == "stock"]
    assert stock == [*STEERING, "stock-best"]
    assert [row["name"] for row in rows if row["kind"] == "ours"] == names()
    safe = next(row for row in rows if row["name"] == "safe")
    assert (safe["order"], safe["needs"]) == ("strict", ["clear", "pressure"])
    assert all(row["summary"] for row in rows)
    assert run(["policy", "list"]) == 0
    table = capsys.readouterr().out
    assert all(name in table for name in (*stock, *names()))


def test_the_table_in_the_docs_is_the_shelf(capsys: pytest.CaptureFixture[str]) -> None:
    document = policy_table.DOCUMENT.read_text()
    wanted = f"docs/policies.md is behind the shelf: type '{policy_table.COMMAND}'"
    assert policy_table.with_table(document) == document, wanted
    assert run(["policy", "list", "--markdown"]) == 0
    table = capsys.readouterr().out
    assert table in document and table.count("\n") == len(names()) + 2


def test_an_old_table_is_replaced() -> None:
    document = "before\n<!-- shelf: by hand -->\n\n| old |\n\n<!-- end of shelf -->\nafter\n"
    fresh = policy_table.with_table(document)
    assert fresh.startswith("before\n<!-- shelf: by hand -->\n\n| policy |")
    assert fresh.endswith("\n<!-- end of shelf -->\nafter\n") and "old" not in fresh
    with pytest.raises(ValueError, match="marks"):
        policy_table.with_table("no marks")


def test_show(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["policy", "show", "backlog", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["order"] == "cell" and found["good"] and found["drowns"]
    knob = {"name": "limit", "default": 128, "low": 1, "high": 8192, "unit": "packets"}
    assert knob.items() <= found["knobs"][1].items()
    assert found["opening"].startswith("backlog: a cell goes to") and "SPDX" not in found["opening"]
    assert found["files"] == [str(SHELF / "backlog" / each) for each in ("policy.h", "policy.py")]
    assert run(["policy", "show", "backlog"]) == 0
    text = capsys.readouterr().out
    assert "Races:" in text and "1 to 8192" in text and "policy.h" in text
    assert run(["policy", "show", "rps"]) == 0
    assert "mask" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["show", "check"])
@pytest.mark.parametrize("name", ["backlogg", "./nowhere", "@nowhere"])
def test_there_is_no_such_policy(
    command: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["policy", command, name]) == 2
    said = capsys.readouterr()
    assert not said.out and said.err.count("\n") == 1
    assert name.removeprefix("@").removeprefix("./") in said.err


def test_a_new_policy_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["policy", "new", "mine"]) == 0
    assert capsys.readouterr().out.split() == ["mine/policy.h", "mine/policy.py"]
    for file in ("policy.h", "policy.py"):
        text = (tmp_path / "mine" / file).read_text()
        assert "mine: " in text and "NAME" not in text
    assert run(["policy", "check", "mine"]) == 0
    said = capsys.readouterr().out
    assert "mine: nothing wrong" in said and "1,000,000 in user space" in said
    assert "left out:   the kernel's half: it needs root" in said
    assert run(["policy", "new", "other", "--folder", str(tmp_path / "deep/er"), "--json"]) == 0
    assert Path(json.loads(capsys.readouterr().out)["files"][0]).is_file()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("there", "there already"),
        ("Mine", "small letters"),
        ("../mine", "small letters"),
        ("backlog", "taken"),
        ("rps", "taken"),
        ("stock-best", "taken"),
    ],
)
def test_a_name_that_is_refused(
    tmp_path: Path,
    name: str,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    assert run(["policy", "new", name]) == 2
    said = capsys.readouterr()
    assert told in said.err and said.err.count("\n") == 1 and not said.out
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("    good=", "    sumary='',\n    good=", "policy.py:3: TypeError: Policy.__init__() got"),
        ("POLICY =", "POLICY = 3\nPOLICY =", "policy.py:4: POLICY is defined twice, first in line"),
        ("POLICY =", "POLICE =", "policy.py:1: defines no POLICY = Policy(…)"),
        (
            "    },",
            '        "cell": Knob(1, 1, 1, "u", "h"),\n    },',
            "policy.py:8: 'cell' is def",
        ),
        ('"cell"', '"Cell"', "policy.py:7: knob 'Cell': small letters"),
        ('"cell"', '"int"', "policy.py:7: knob 'int' is a word of C's"),
        ('"cell"', '"nice"', "policy.py:7: knob 'nice' is the datapath's"),
        ("Knob(4, 1, 9,", "Knob(0, 1, 9,", "policy.py:7: knob 'cell': 0 <= low <= default"),
        ("Knob(4, 1, 9,", "Knob(4, 1, 1 << 32,", "policy.py:7: knob 'cell': 0 <= low <= default"),
        ("Knob(4, 1, 9,", "Knob(4, 1, 9.5,", "policy.py:7: knob 'cell': default, low and high"),
        ('"packets"', '""', "policy.py:7: knob 'cell': its unit is wanted"),
        ('good="tests"', 'good=""', "policy.py:9: good: one line"),
        ("Order.UNORDERED", '"strict-ish"', "policy.py:5: order: choose from Order.STRICT"),
        ("    good=", "    needs={'time'},\n    good=", "policy.py:9: needs: a frozenset"),
        ("    good=", "    nice=20,\n    good=", "policy.py:9: nice: a number from 0 to 19"),
        ("    good=", "    rps=2,\n    good=", "policy.py:9: rps: True or False"),
        (
            "    good=",
            '    counters={"Cells": "x"},\n    good=',
            "policy.py:9: counter 'Cells': small letters",
        ),
        (
            "    good=",
            '    counters={"n": ""},\n    good=',
            "policy.py:9: counter 'n': its meaning",
        ),
        ("    good=", "    counters=7,\n    good=", "policy.py:9: counters: a dictionary"),
        ("    good=", "    version=7,\n    good=", "policy.py:9: is written for version 7"),
        ("    good=", "    good=(\n    good=", "policy.py:3: SyntaxError"),
        ("POLICY =", "import nowhere\nPOLICY =", "policy.py:3: ModuleNotFoundError"),
    ],
)
def test_what_is_wrong_with_the_python_half(tmp_path: Path, old: str, new: str, told: str) -> None:
    folder = written(tmp_path, python=PYTHON.replace(old, new, 1))
    assert any(each.startswith(told) for each in problems(folder)), problems(folder)
    assert run(["policy", "check", str(folder)]) == 2


def test_the_datapaths_knobs_are_taken() -> None:
    assert sorted(halves.TAKEN) == sorted(COMMON)


def test_every_problem_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    python = PYTHON.replace('"cell"', '"Cell"').replace('good="tests"', 'good=""')
    folder = written(tmp_path, "__u32 a = nonsense;\n\treturn rubbish + a;", python)
    assert run(["policy", "check", str(folder)]) == 2
    lines = capsys.readouterr().out.splitlines()
    places = [line.split(": ")[0] for line in lines if line.startswith(str(folder))]
    expected = ["policy.py:9", "policy.py:7", "policy.h:7", "policy.h:8"]
    assert places == [f"{folder}/{place}" for place in expected]
    assert lines[-1] == "mine: 4 problems"
    assert run(["policy", "check", str(folder), "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert not found["ok"] and [each["line"] for each in found["problems"]] == [9, 7, 7, 8]


def test_files_that_are_missing(tmp_path: Path) -> None:
    assert problems(tmp_path) == ["policy.py: is missing", "policy.h: is missing"]


@pytest.mark.parametrize(
    ("decision", "told"),
    [
        ("return 2;", "policy.h:4: trace 'light', 0 workers, cell=1: packet 0 gets slot 2"),
        ("return workers->count / packet->pressed;", "policy.h:7: division by zero (packet 0 of"),
        ("static __u32 n; return n++ == 5;", "packet 5 gets another slot when the same trace"),
        ("return packet->now && workers->count;", "it decides by what it is not told: add Need.TI"),
        ("return *(__u32 *)(packet->hash * 0ul);", "ended in user space: a bad address"),
    ],
)
def test_what_is_wrong_with_decisions(tmp_path: Path, decision: str, told: str) -> None:
    [found] = problems(written(tmp_path, decision))
    assert told in found and found.startswith("policy.h:")


def test_a_loop_that_never_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.check.SECONDS", 2)
    [found] = problems(written(tmp_path, "for (;;) WRITE_SHARED(flow->n, 1);"))
    assert found == "policy.h:7: no end after 2 s in user space: a loop that never ends?"


ALTERNATING = "return flow->n++ % (workers->count + 1);"
CELLS = "return flow->n++ / knobs->cell % (workers->count + 1);"
SHORT = "return flow->n++ / (knobs->cell / 2 + 1) % (workers->count + 1);"


@pytest.mark.parametrize(
    ("order", "knob", "decision", "told"),
    [
        ("UNORDERED", "cell", ALTERNATING, None),
        ("CELL", "cell", CELLS, None),
        ("STRICT", "cell", "return packet->hash % (workers->count + 1);", None),
        (
            "STRICT",
            "cell",
            CELLS,
            r"order 'strict' is promised, but with 1 worker, cell=.* overtook",
        ),
        ("CELL", "cell", ALTERNATING, "order 'cell' is promised, but with .* a run of 1 begins"),
        ("CELL", "cell", CELLS.replace("knobs->cell", "(knobs->cell + 1)"), None),
        ("CELL", "cell", SHORT, "a run of .* begins at packet"),
        ("CELL", "run", ALTERNATING, "a flow's .* packets change their slot: no cells"),
    ],
)
def test_the_order_that_is_promised(
    tmp_path: Path, order: str, knob: str, decision: str, told: str | None
) -> None:
    python = PYTHON.replace("UNORDERED", order).replace('"cell"', f'"{knob}"')
    found = problems(written(tmp_path, decision, python))
    if told is None:
        assert found == []
    else:
        assert len(found) == 1
        assert re.search(told, found[0]), found


def test_a_safe_move_needs_a_clear_path() -> None:
    """The traces let a policy that waits for `clear` move, and break one that does not wait."""
    hosted = Hosted(find(Spec.parse("safe")))
    steps = trace.orderly(4000, 6, 1)
    drains = trace.drains(4000, 4, 1)
    queued = hosted.run_queues(trace.known(steps, hosted.policy.needs), drains, {}, 3, 256)
    assert len(np.unique(queued.slots)) == 4
    assert check_order.overtaken(steps["packet"]["hash"], queued.place) is None
    steps["packet"]["clear"] = 0
    stays = hosted.run_queues(steps, drains, {}, 3, 256)
    assert set(stays.slots.tolist()) == {0}


def test_overtaking_is_seen() -> None:
    flows = np.array([1, 2, 1, 2], np.uint32)
    assert check_order.overtaken(flows, np.array([1, 3, 2, 4], np.uint64)) is None
    late = check_order.overtaken(flows, np.array([3, 1, 2, 4], np.uint64))
    assert late == "packet 2 of the trace overtook packet 0"
    # A packet that was lost is no late one.
    assert check_order.overtaken(flows, np.array([3, 1, 0, 2], np.uint64)) is None


def test_the_whole_trace() -> None:
    policy = find(Spec.parse("backlog"))
    parts = segments(policy)
    assert sum(part.packets for part in parts) == HOSTED_PACKETS == 1_000_000
    assert sum(part.in_kernel for part in parts) == KERNEL_PACKETS == 10_000
    assert {(part.mix, part.setting.workers) for part in parts} == {
        (mix, count) for mix in trace.Mix for count in (0, 1, 2, 3, 8, 64)
    }
    cells = {part.setting.knobs["cell"] for part in parts}
    assert {1, 64, 4096} < cells
    assert segments(policy) == parts


def test_a_name_a_path_and_a_path_with_an_at(tmp_path: Path) -> None:
    folder = written(tmp_path)
    assert folder_of("backlog") == SHELF / "backlog"
    assert folder_of(str(folder)) == folder_of(f"@{folder}") == folder


@pytest.mark.parametrize("name", names())
def test_the_shelf_passes(name: str) -> None:
    report = examine(SHELF / name)
    assert report.faults == []
    assert report.figures["ns_user_space"] > 0
