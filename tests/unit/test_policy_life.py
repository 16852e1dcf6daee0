"""``overspray policy``: what is listed and shown, what a new one is, and what is found without a kernel."""

import json
from pathlib import Path

import pytest
from owned import BODY_LINE, KNOB_LINE, PYTHON, SLOT_LINE, C, own, written

from bench.cli import run
from prototype import check as checks
from prototype.check import check
from steering import code, compile, doctor, policy, stock
from steering.doctor import Row
from steering.policy import CONTRACT, Policy
from steering.spec import Spec

KNOB = '"cell": Knob(1, 0, 9, "packets", "length of a cell"),'


@pytest.fixture(autouse=True)
def without_a_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a person without root; short traces, and nothing kept."""
    monkeypatch.setattr(code, "FOLDER", tmp_path / "kept")
    monkeypatch.setattr(checks, "PACKETS", 100_000)
    monkeypatch.setattr(checks, "_LONGEST", 10_000)
    no = Row("BPF", False, "not permitted", "", "type it again with sudo", True)
    monkeypatch.setattr(doctor, "examine", lambda *names: [no])


def told(of: Policy) -> list[str]:
    return [str(problem).removeprefix(f"{of.folder}/") for problem in check(of).problems]


def test_the_list_is_the_shelf_and_stock(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["policy", "list", "--json"]) == 0
    listed = {each["name"]: each for each in json.loads(capsys.readouterr().out)}
    assert [*listed] == [*policy.names(), *stock.STEERING, "stock-best"]
    for name in policy.names():
        found = policy.find(Spec.parse(name))
        assert (listed[name]["summary"], listed[name]["order"]) == (found.summary, found.order)
        assert listed[name]["knobs"].keys() == found.knobs.keys()
    assert run(["policy", "list"]) == 0
    said = capsys.readouterr().out
    assert "cell=64, limit=192" in said and "rps-vxlan" in said


def test_the_documents_table_is_what_the_policies_say() -> None:
    page = (Path(__file__).parents[2] / "docs/policies.md").read_text()
    rows = page.partition("<!-- shelf -->\n")[2].partition("\n<!-- /shelf -->")[0].splitlines()[2:]
    wanted = []
    for each in (policy.find(Spec.parse(name)) for name in policy.names()):
        knobs = ", ".join(f"`{name}` ({knob.default} {knob.unit})" for name, knob in each.knobs.items())
        wanted.append(f"| `{each.name}` | {knobs} | {each.order} | {each.good} | {each.drowns} |")
    assert rows == wanted


@pytest.mark.parametrize("named", ["backlog", str(policy.SHELF / "backlog"), f"@{policy.SHELF / 'backlog'}"])
def test_show_says_everything(named: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = policy.find(Spec.parse("backlog"))
    assert run(["policy", "show", named]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for part in (found.summary, found.good, found.drowns, "0 to 16384 packets", str(found.header)):
        assert part in said, part
    assert run(["policy", "show", named, "--json"]) == 0
    limit = json.loads(capsys.readouterr().out)["knobs"]["limit"]
    assert (limit["default"], limit["low"], limit["high"]) == (192, 0, 16384)


def test_show_knows_stock(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["policy", "show", "rps"]) == 0
    assert stock.STEERING["rps"].summary in capsys.readouterr().out


def test_a_new_policy_passes_its_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["policy", "new", "my-own", "--in", str(tmp_path)]) == 0
    folder = tmp_path / "my-own"
    said = capsys.readouterr().out
    assert f"overspray policy check {folder}" in said
    assert "my-own: cells go to" in (folder / "policy.h").read_text()
    made = policy.load(folder)
    assert made.contract == CONTRACT
    report = check(made)
    assert report.problems == [] and report.decided > 100_000
    assert report.decision_ns is not None and report.decision_ns > 0


def test_without_a_kernel_half_a_check_is_no_success(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["policy", "check", str(written(tmp_path / "mine"))]) == 1
    said = capsys.readouterr()
    assert "order     'unordered' kept by" in said.out
    assert said.err.endswith(
        "overspray: the kernel's half was not looked at: not permitted: type it again with sudo\n"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("new backlog", "policy 'backlog' is on the shelf: choose another name"),
        ("new Mine", "'Mine' is no name of a policy: small letters, digits and '-'"),
        ("new mine --in /nowhere", "can't make '/nowhere/mine': No such file or directory"),
        ("new proc --in /", "'/proc' is there already: choose another name"),
        ("show nonsense", "unknown policy 'nonsense': choose from adaptive, "),
        ("check ./nonsense", "no policy in 'nonsense': policy.py is missing"),
    ],
)
def test_mistakes_on_the_command_line(arguments: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["policy", *arguments.split()]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("python", "said"),
    [
        (
            PYTHON.replace("good=", "contract=2, good="),
            "is for contract 2, and this overspray has 1: see ",
        ),
        (PYTHON.replace("Knob(1, 0, 9", "dict(a=1) or (1, 0, 9"), "knobs is no {name: Knob(…)}"),
    ],
)
def test_what_is_refused_before_it_is_looked_at(
    python: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["policy", "check", str(written(tmp_path / "mine", python=python))]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("knob", "said"),
    [
        (KNOB.replace("(1, 0, 9", "(10, 0, 9"), "knob 'cell': its default 10 is out of range 0 to 9"),
        (KNOB.replace("(1, 0, 9", "(1, 9, 0"), "knob 'cell': its range 9 to 0 is none of 32 bits"),
        (KNOB.replace("(1, 0, 9", "(1, 0, 1 << 32"), "knob 'cell': its range 0 to 4294967296 is none of 32"),
        (KNOB.replace("cell", "mask"), "knob 'mask': its name is taken: it is a knob of every policy"),
        (KNOB.replace("cell", "my-cell"), "knob 'my-cell': its name is a C member's: small letters"),
        (KNOB.replace("cell", "int"), "knob 'int': its name is a C member's: small letters"),
        (KNOB + KNOB, f"knob 'cell' is defined twice: first in line {KNOB_LINE}"),
    ],
)
def test_mistakes_of_the_python_half(knob: str, said: str, tmp_path: Path) -> None:
    [problem] = told(own(tmp_path / "mine", python=PYTHON.replace(KNOB, knob)))
    assert problem.startswith(f"policy.py:{KNOB_LINE}: {said}")


@pytest.mark.parametrize(
    ("c", "said"),
    [
        (C.replace("policy_slot", "slot"), ["policy.h: defines no policy_slot(): see "]),
        (
            C.replace("struct policy_core {", "struct core {"),
            ["policy.h: defines no struct policy_core: see ", "policy.h:6: "],
        ),
        (C.replace("Races:", ""), ["policy.h:1: its opening comment says nothing of Races:"]),
        (
            C.replace("struct policy_core {", "struct policy_flow { __u32 n; };\nstruct policy_core {"),
            ["policy.h:3: redefinition of 'struct policy_flow'"],
        ),
        (
            C.replace("BODY", "int unused;\n    return nowhere;"),
            [f"policy.h:{BODY_LINE + 1}: 'nowhere' undeclared", f"policy.h:{BODY_LINE}: unused variable"],
        ),
    ],
    ids=["no decision", "no struct", "no races", "twice", "two errors"],
)
def test_mistakes_of_the_c_half(c: str, said: list[str], tmp_path: Path) -> None:
    found = told(own(tmp_path / "mine", c=c))
    for line in said:
        assert any(problem.startswith(line) for problem in found), found
    assert all(problem.startswith("policy.h:") for problem in found), "nothing of our own files"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            "return packet->hash / knobs->cell & 0;",
            f"policy.h:{BODY_LINE}: division by zero: packet 0 of trace 'two workers' with cell=0 (and 9",
        ),
        (
            "return workers->count + 1;",
            f"policy.h:{SLOT_LINE}: 10000 slots that do not exist: first 3 for packet 0, of 0 to 2: trace",
        ),
    ],
)
def test_what_traces_find(body: str, said: str, tmp_path: Path) -> None:
    [problem] = told(own(tmp_path / "mine", body))
    assert problem.startswith(said)


def test_a_broken_promise_is_told_once(tmp_path: Path) -> None:
    python = PYTHON.replace("UNORDERED", "STRICT")
    [problem] = told(own(tmp_path / "mine", "return workers->count & flow->seen++;", python))
    assert problem.startswith(f"policy.h:{SLOT_LINE}: promises order 'strict', and ")
    assert " packets overtake others of their flow: first packet " in problem
    assert problem.endswith(" times more)")


def test_where_the_verifier_gave_up_is_where_it_was_all_the_time() -> None:
    """After a million steps the last one is no more than that; else it is the culprit."""
    walked = "; a @ policy.h:9\n1: (b7)\n; a @ policy.h:9\n; b @ steer.bpf.c:4\n2: (b7)\n"
    why = Exception("load failed")
    assert (
        compile._refusal("steer", walked + "BPF program is too large. Processed 1000001 insn\n", why).place
        == "policy.h:9"
    )
    assert compile._refusal("steer", walked + "R1 invalid mem access\n", why).place == "steer.bpf.c:4"
