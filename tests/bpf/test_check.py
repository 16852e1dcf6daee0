"""`overspray policy check` as root: the verifier, and the same slots on both sides."""

import json
from pathlib import Path

import numpy as np
import pytest

from bench import check_decisions
from bench.check import examine
from bench.check_decisions import InKernel, difference
from bench.cli import run
from steering.hosted import Hosted, idle_workers
from steering.registry import SHELF, load, names
from steering.trace import Mix, known, trace

pytestmark = pytest.mark.root

PYTHON = """from steering.policy import Knob, Order, Policy

POLICY = Policy(
    summary="made up",
    order=Order.UNORDERED,
    knobs={"cell": Knob(4, 1, 9, "packets", "length")},
    good="tests",
    drowns="always",
)
"""
# The body of the decision stands in line 7.
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
def own_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def written(folder: Path, decision: str, python: str = PYTHON) -> Path:
    mine = folder / "mine"
    mine.mkdir(exist_ok=True)
    (mine / "policy.py").write_text(python)
    (mine / "policy.h").write_text(C.replace("DECISION", decision))
    return mine


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_the_shelf_passes(name: str) -> None:
    report = examine(SHELF / name, cost=False)
    assert report.faults == [] and report.left_out == []
    assert "10,000 in the kernel: the same" in report.facts["decisions"]
    assert report.figures["instructions"] > 1000


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = written(tmp_path, "return flow->n++ / knobs->cell % (workers->count + 1);")
    assert run(["policy", "check", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] and found["problems"] == [] and found["left_out"] == []
    assert set(found["figures"]) == {"instructions", "ns_user_space", "ns_kernel"}
    assert run(["policy", "check", str(folder), "--no-cost"]) == 0
    said = capsys.readouterr().out
    assert "instructions processed (+0 since the last check)" in said
    assert "mine: nothing wrong" in said


def test_the_verifiers_work_is_compared_with_the_last(tmp_path: Path) -> None:
    first = examine(written(tmp_path, "return 0;"), cost=False)
    assert first.facts["kernel"].endswith("instructions processed")
    longer = "return packet->hash % (workers->count + 1) * (packet->length % 2);"
    second = examine(written(tmp_path, longer), cost=False)
    more = int(second.figures["instructions"] - first.figures["instructions"])
    assert more > 0
    assert second.facts["kernel"].endswith(f"processed ({more:+,} since the last check)")


@pytest.mark.parametrize(
    ("decision", "told"),
    [
        (
            "return nonsense;\n\t}\n__u32 f(void)\n{\n\treturn rubbish;",
            ["policy.h:7: 'nonsense'", "policy.h:11: 'rubbish'"],
        ),
        (
            "return workers->worker[packet->hash].sent;",
            ["policy.h:7: the verifier refused it: R"],
        ),
        (
            "for (;;) WRITE_SHARED(flow->n, 1);",
            ["policy.h:7: the verifier refused it: a loop that may never end: give it a constant"],
        ),
        ("return 2;", ["0 workers, cell=1: packet 0 gets slot 2, which does not exist"]),
        ("return workers->count / packet->queue;", ["policy.h:7: division by zero (packet "]),
        (
            "\n#ifdef BPF_ARRAY\n\treturn packet->hash == 0;\n#endif\n\treturn 0;",
            ["gets slot 0 in user space, slot 1 in the kernel"],
        ),
        (
            # LLVM ends the process over this one.
            "__u32 i, big[200]; for (i = 0; i < 200; i++) READ_SHARED(big[i]) = i;"
            "return big[packet->hash & 127] & 0;",
            ["BPF stack limit of 512 bytes is exceeded"],
        ),
    ],
    ids=["compile", "verifier", "loop", "slot", "zero", "sides", "stack"],
)
def test_each_problem_is_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], decision: str, told: list[str]
) -> None:
    folder = written(tmp_path, decision)
    assert run(["policy", "check", str(folder)]) == 2
    said = capsys.readouterr()
    lines = [line for line in said.out.splitlines() if line.startswith(f"{folder}/policy.h:")]
    assert len(lines) == len(told), said.out
    for line, words in zip(lines, told, strict=True):
        assert words in line
    assert said.err == ""


def test_a_wrong_promise(tmp_path: Path) -> None:
    python = PYTHON.replace("UNORDERED", "STRICT")
    folder = written(tmp_path, "return flow->n++ % (workers->count + 1);", python)
    [fault] = examine(folder, cost=False).faults
    assert fault.line == 4 and "order 'strict' is promised, but with 1 worker" in fault.what
    assert "overtook packet" in fault.what


def test_facts_counters_and_state_arrive_in_the_kernel(tmp_path: Path) -> None:
    """A policy that mixes all it is told into a number: the same on both sides."""
    decision = """\
__u32 sum = (__u32)(packet->now ^ packet->now >> 32) + packet->hash + packet->flow;

\tfor (__u32 i = 0; i < 8; i++) {
\t\tconst struct worker *w = &workers->worker[i];

\t\tsum = sum * 31 + (__u32)(w->sent + w->lost * 3 + w->done * 5 + w->started * 7 +
\t\t\tw->finished * 11 + w->yielded * 13 + w->batches * 17);
\t}
\tsum += packet->length + packet->protocol * 3 + packet->tcp_flags * 5 + packet->queue * 7;
\tsum += packet->container * 23 + packet->clear * 11 + packet->pressed * 13;
\tsum += knobs->cell * 17 + workers->count * 19;
\tflow->n = flow->n * 33 + sum;
\tcore->n = core->n * 35 + flow->n;
\treturn core->n & 0x7fffffff;"""
    python = PYTHON.replace(
        '    good="tests"',
        '    needs=frozenset(__import__("steering.policy").policy.Need),\n    good="tests"',
    )
    policy = load(written(tmp_path, decision, python))
    hosted = Hosted(policy)
    with InKernel(policy) as kernel:
        for mix in Mix:
            steps = known(trace(mix, 400, 8, seed=3), policy.needs)
            expected = hosted.run(steps, {"cell": 5}, idle_workers(8))
            assert len(np.unique(expected)) > 300
            for _ in range(2):  # state is as new each time
                assert (kernel.slots(steps, {"cell": 5}, 8) == expected).all()


def test_one_packet_that_differs_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = load(SHELF / "backlog")
    hosted = Hosted(policy)
    parts = [each for each in check_decisions.segments(policy) if each.setting.workers == 3][:1]
    monkeypatch.setattr("bench.check_decisions.segments", lambda _: parts)
    [part] = parts
    steps = known(part.steps()[: part.in_kernel], policy.needs)
    slots = hosted.run(steps, part.setting.knobs, idle_workers(3))
    with InKernel(policy) as kernel:
        assert difference(kernel, policy, [slots]) == ""
        slots[-1] ^= 1
        assert f"packet {part.in_kernel - 1} gets slot" in difference(kernel, policy, [slots])
