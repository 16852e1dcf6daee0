"""What can be wrong with a policy's two files before anything is compiled."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from prototype.problem import Problem
from steering.knobs import Knob
from steering.plan import COMMON
from steering.policy import Order, Policy

_TOLD = ("Order:", "Good:", "Drowns:", "Cost:", "Races:")
_DEFINED = {
    "struct policy_flow": re.compile(r"\bstruct\s+policy_flow\s*\{"),
    "struct policy_core": re.compile(r"\bstruct\s+policy_core\s*\{"),
    "policy_slot()": re.compile(r"\bpolicy_slot\s*\([^;{]*\)\s*\{"),
}
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_MOST = 0xFFFFFFFF
_C_WORDS = re.compile(
    "auto|break|case|char|const|continue|default|do|double|else|enum|extern|float|for|goto|if|inline|int|long|"
    "register|restrict|return|short|signed|sizeof|static|struct|switch|typedef|union|unsigned|void|volatile|while"
)


def mistakes(policy: Policy) -> list[Problem]:
    """Of the Python half, and of the comment that opens the C half."""
    return [*_python(policy), *_comment(policy)]


def has_members(policy: Policy) -> bool:
    """Whether its knobs make a C struct: else a compiler would say the same in many words."""
    return all(map(_is_member, policy.knobs))


def decision(policy: Policy) -> tuple[Path, int | None]:
    """File and line at which the decision begins."""
    text = _COMMENT.sub(lambda found: "\n" * found[0].count("\n"), policy.header.read_text())
    found = _DEFINED["policy_slot()"].search(text)
    return policy.header, text[: found.start()].count("\n") + 1 if found else None


def undefined(policy: Policy) -> list[Problem]:
    """What the C half must define and does not, as far as its text tells."""
    text = _COMMENT.sub("", policy.header.read_text())
    return [
        Problem(f"defines no {name}: see xdp/include/policy.h", policy.header)
        for name, wanted in _DEFINED.items()
        if not wanted.search(text)
    ]


def _comment(policy: Policy) -> Iterator[Problem]:
    opening = policy.header.read_text().partition("*/")[0]
    missing = [word for word in _TOLD if word not in opening]
    if missing:
        yield Problem(f"its opening comment says nothing of {' '.join(missing)}", policy.header, 1)


def _python(policy: Policy) -> Iterator[Problem]:
    file = policy.folder / "policy.py"
    lines: dict[str, int] = {}
    for table in (node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Dict)):
        here: dict[str, int] = {}
        for key in (key for key in table.keys if isinstance(key, ast.Constant)):
            name = str(key.value)
            if name in here:
                yield Problem(f"knob '{name}' is defined twice: first in line {here[name]}", file, key.lineno)
            here.setdefault(name, key.lineno)
        lines |= here
    for name in ("summary", "good", "drowns"):
        if not getattr(policy, name):
            yield Problem(f"{name} is empty", file)
    if policy.order not in list(Order):
        yield Problem(f"order is {policy.order!r}: choose from {', '.join(Order)}", file)
    for name, knob in policy.knobs.items():
        for what in _knob(name, knob):
            yield Problem(f"knob '{name}': {what}", file, lines.get(name))


def _knob(name: str, knob: Knob) -> Iterator[str]:
    if not _is_member(name):
        yield "its name is a C member's: small letters, digits and '_', and no word of C"
    if name in COMMON:
        yield "its name is taken: it is a knob of every policy"
    numbers = (knob.default, knob.low, knob.high)
    if not all(isinstance(number, int) for number in numbers):
        yield "default and range are whole numbers"
    elif not 0 <= knob.low <= knob.high <= _MOST:
        yield f"its range {knob.low} to {knob.high} is none of 32 bits"
    elif not knob.low <= knob.default <= knob.high:
        yield f"its default {knob.default} is out of range {knob.low} to {knob.high}"
    if not knob.unit or not knob.help:
        yield "unit and help are for people: write both"


def _is_member(name: str) -> bool:
    return bool(_NAME.fullmatch(name)) and not _C_WORDS.fullmatch(name)
