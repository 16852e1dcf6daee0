"""Policies made up by tests: a folder with the one line that decides."""

from pathlib import Path

from steering.policy import Policy
from steering.registry import load

C = """struct policy_flow { __u32 n; };
struct policy_core { __u32 n; };
static ALWAYS_INLINE __u32 policy_slot(const struct packet *packet, const struct knobs *knobs,
\t\tstruct policy_flow *flow, struct policy_core *core, const struct workers *workers)
{
\tDECISION
}
"""
PYTHON = """from steering.policy import Order, Policy

POLICY = Policy(summary="s", order=Order.UNORDERED, knobs={}, good="g", drowns="d")
"""


def made_policy(folder: Path, decision: str) -> Policy:
    folder.mkdir()
    (folder / "policy.h").write_text(C.replace("DECISION", decision))
    (folder / "policy.py").write_text(PYTHON)
    return load(folder)
