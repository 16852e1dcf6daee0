"""What a policy's author is told: one line with file and line, and the command goes on."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from steering.compile import CompileError, Module
from steering.errors import OversprayError
from steering.layout import header
from steering.plan import Plan
from steering.registry import load
from steering.unit import Unit

pytestmark = pytest.mark.root

PYTHON = """
from steering.policy import Order, Policy

POLICY = Policy(summary="s", order=Order.STRICT, knobs={}, good="g", drowns="d")
"""

# The body of the decision stands in line 6.
C = """struct policy_flow { __u32 n; STATE };
struct policy_core { __u32 n; };
static ALWAYS_INLINE __u32 policy_slot(const struct packet *packet, const struct knobs *knobs,
\t\tstruct policy_flow *flow, struct policy_core *core, const struct workers *workers)
{
\tDECISION
}
"""


Attempt = Callable[..., str]


@pytest.fixture
def attempt(tmp_path: Path) -> Attempt:
    """Compile and load a policy with that decision; returns what the author is told."""

    def of(decision: str, state: str = "") -> str:
        folder = tmp_path / "mine"
        folder.mkdir(exist_ok=True)
        (folder / "policy.py").write_text(PYTHON)
        (folder / "policy.h").write_text(C.replace("DECISION", decision).replace("STATE", state))
        try:
            Unit(Plan(load(folder), {}, [0]), secret=1).close()
        except OversprayError as error:
            assert isinstance(error, CompileError) and error.exit_code == 1
            return str(error).replace(str(folder), "mine")
        return "accepted"

    return of


@pytest.mark.parametrize(
    ("decision", "told"),
    [
        ("return nonsense;", "mine/policy.h:6: use of undeclared identifier 'nonsense'"),
        ('}\n#include "nowhere.h"\n{', "mine/policy.h:7: 'nowhere.h' file not found"),
        ("return knobs->cell;", "mine/policy.h:6: no member named 'cell' in 'struct knobs'"),
        ("return workers->worker[packet->hash].sent;", "at policy.h:6: R"),
        ("for (;;) WRITE_SHARED(flow->n, 1);", "a loop that may never end"),
        (
            "__u32 i, n = 0; for (i = 0; i < packet->hash; i++) n += READ_SHARED(core->n) * i;"
            "return n;",
            "too many ways through it: give loops a small constant bound",
        ),
        # LLVM ends the process over this one.
        (
            "__u32 i, big[200]; for (i = 0; i < 200; i++) READ_SHARED(big[i]) = i;"
            "return big[packet->hash & 127];",
            "BPF stack limit of 512 bytes is exceeded",
        ),
    ],
)
def test_one_line_says_what_and_where(attempt: Attempt, decision: str, told: str) -> None:
    words = attempt(decision)
    assert told in words and "\n" not in words
    assert words.startswith(("compile 'steer", "the verifier refused 'steer'"))


def test_a_flows_state_has_a_bound(attempt: Attempt) -> None:
    told = attempt("return 0;", state="__u32 more[16];")
    assert "struct policy_flow is too large" in told and "steer.bpf.c:" in told


def test_what_is_fine_is_accepted(attempt: Attempt) -> None:
    facts = " + ".join(f"packet->{name}" for name in header("policy.h").struct("packet").names)
    assert attempt(f"return ({facts}) % (workers->count + 1);", "__u32 more[15];") == "accepted"


def test_nothing_is_said_on_stderr(attempt: Attempt, capfd: pytest.CaptureFixture[str]) -> None:
    attempt("return workers->worker[packet->hash].sent;")
    assert capfd.readouterr() == ("", "")


def test_an_error_in_our_own_source_names_its_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, text in (("one.bpf.c", "int one;\n"), ("two.bpf.c", "\n\nint two = nothing;\n")):
        (tmp_path / name).write_text(text)
    monkeypatch.setattr("steering.compile.SOURCES", tmp_path)
    with pytest.raises(CompileError, match=re.escape("compile 'one+two': two.bpf.c:3: use of")):
        Module("one.bpf.c", "two.bpf.c")
