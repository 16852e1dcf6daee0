"""A policy of one's own, written by a test."""

from pathlib import Path

from steering import policy
from steering.policy import Policy

PYTHON = '''"""A test's."""

from steering.knobs import Knob
from steering.policy import Order, Policy

POLICY = Policy(
    summary="one of a test's",
    order=Order.UNORDERED,
    knobs={
        "cell": Knob(1, 0, 9, "packets", "length of a cell"),
    },
    good="tests",
    drowns="else",
)
'''
KNOB_LINE = 10
C = """/* Order: Good: Drowns: Cost: Races: of a test. */
struct policy_flow { __u32 seen; };
struct policy_core { __u32 table[4]; __u32 last; };

static ALWAYS_INLINE __u32 policy_slot(const struct packet *packet, const struct knobs *knobs,
    struct policy_flow *flow, struct policy_core *core, const struct workers *workers)
{
    (void)packet, (void)knobs, (void)flow, (void)core, (void)workers;
    BODY
}
"""
SLOT_LINE, BODY_LINE = 5, 9


def written(folder: Path, body: str = "return 0;", python: str = PYTHON, c: str = C) -> Path:
    """Its folder; ``body`` is that of the decision."""
    folder.mkdir(exist_ok=True)
    (folder / "policy.py").write_text(python)
    (folder / "policy.h").write_text(c.replace("BODY", body))
    return folder


def own(folder: Path, body: str = "return 0;", python: str = PYTHON, c: str = C) -> Policy:
    return policy.load(written(folder, body, python, c))
