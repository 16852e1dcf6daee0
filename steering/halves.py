"""Reads the Python half of a policy, anyone's, and says all that is wrong with it."""

import ast
import importlib.util
import re
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from steering.errors import OversprayError
from steering.faults import Fault, line_of
from steering.policy import VERSION, Knob, Need, Order, Policy

TAKEN = ("back", "cells", "deliver", "gro", "mask", "nice", "queue", "rps", "shield")
"""Knobs of the datapath, which every policy has; see :data:`steering.plan.COMMON`."""

_MOST = (1 << 32) - 1
_NICEST = 19
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_C_WORDS = """
asm auto break case char const continue default do double else enum extern float for goto if inline
int long register restrict return short signed sizeof static struct switch typedef typeof union
unsigned void volatile while true false bool current linux unix i386
"""
"""C's words, and macros that a compiler or the kernel's headers define."""


def read(path: Path) -> tuple[Policy | None, list[Fault]]:
    """The policy that a ``policy.py`` defines, if it does, and all faults that can be seen in it.

    Raises:
        OversprayError: the file itself raised one.
    """
    try:
        tree = ast.parse(path.read_bytes(), str(path))
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        return None, [Fault(str(path), line, f"{type(error).__name__}: {_first_line(error)}")]
    faults = [Fault(str(path), line, what) for line, what in _twice(tree)]
    try:
        policy = _run(path)
    except OversprayError:
        raise
    except (Exception, SystemExit) as error:  # a stranger's file may raise anything
        line = _line_in(path, error)
        return None, [
            *faults,
            Fault(str(path), line, f"{type(error).__name__}: {_first_line(error)}"),
        ]
    if not isinstance(policy, Policy):
        return None, [*faults, Fault(str(path), 1, "defines no POLICY = Policy(…)")]
    wrong = _wrong_version(policy) or _wrong_fields(policy)
    return policy, [*faults, *(Fault(str(path), line_of(path, at), what) for at, what in wrong)]


def _run(path: Path) -> object:
    spec = importlib.util.spec_from_file_location(f"overspray_policy_{path.parent.name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, "POLICY", None)


def _first_line(error: BaseException) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return (text.splitlines() or ["no reason given"])[0]


def _line_in(path: Path, error: BaseException) -> int:
    frames = traceback.extract_tb(error.__traceback__)
    return next((each.lineno or 1 for each in reversed(frames) if each.filename == str(path)), 1)


def _twice(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Names given twice, of which Python would silently take the last."""
    first = 0
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        if any(isinstance(each, ast.Name) and each.id == "POLICY" for each in targets):
            if first:
                yield node.lineno, f"POLICY is defined twice, first in line {first}"
            first = first or node.lineno
    for each in ast.walk(tree):
        if isinstance(each, ast.Dict):
            keys = [key for key in each.keys if isinstance(key, ast.Constant)]
            seen: Counter[Any] = Counter()
            for key in keys:
                if seen[key.value]:
                    yield key.lineno, f"{key.value!r} is defined twice"
                seen[key.value] += 1


Wrong = list[tuple[str, str]]
"""Words that stand in the line that is wrong, and what is wrong."""


def _wrong_version(policy: Policy) -> Wrong:
    """Of another contract nothing else can be said."""
    if policy.version == VERSION:
        return []
    what = (
        f"is written for version {policy.version} of the contract, this is {VERSION}: see "
        f"CHANGELOG.md for what changed"
    )
    return [("version", what)]


def _wrong_fields(policy: Policy) -> Wrong:
    wrong: Wrong = []
    for name in ("summary", "good", "drowns"):
        text = getattr(policy, name)
        if not isinstance(text, str) or not text.strip() or "\n" in text:
            wrong.append((f"{name}=", f"{name}: one line of text is wanted"))
    if not isinstance(policy.order, Order):
        names = ", ".join(f"Order.{order.name}" for order in Order)
        wrong.append(("order=", f"order: choose from {names}"))
    if not isinstance(policy.needs, frozenset) or not all(
        isinstance(need, Need) for need in policy.needs
    ):
        names = ", ".join(f"Need.{need.name}" for need in Need)
        wrong.append(("needs=", f"needs: a frozenset is wanted, of {names}"))
    if not isinstance(policy.rps, bool):
        wrong.append(("rps=", "rps: True or False is wanted"))
    if not _is_number(policy.nice) or not 0 <= policy.nice <= _NICEST:
        wrong.append(("nice=", f"nice: a number from 0 to {_NICEST} is wanted"))
    if not isinstance(policy.counters, Mapping):
        wrong.append(("counters=", "counters: a dictionary of name to meaning is wanted"))
    else:
        wrong += [each for item in policy.counters.items() for each in _of_counter(*item)]
    if not isinstance(policy.knobs, Mapping):
        return [*wrong, ("knobs=", "knobs: a dictionary of name to Knob(…) is wanted")]
    return [*wrong, *(each for name, knob in policy.knobs.items() for each in _of_knob(name, knob))]


def _of_knob(name: object, knob: object) -> Wrong:
    at = f'"{name}"'
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return [(at, f"knob '{name}': small letters, digits and '_' are wanted, for C")]
    if name in _C_WORDS.split():
        return [(at, f"knob '{name}' is a word of C's: choose another name")]
    if name in TAKEN:
        return [(at, f"knob '{name}' is the datapath's: choose another name")]
    if not isinstance(knob, Knob):
        return [(at, f"knob '{name}': Knob(default, low, high, unit, help) is wanted")]
    wrong: Wrong = []
    numbers = (knob.low, knob.default, knob.high)
    if not all(_is_number(each) for each in numbers):
        wrong.append((at, f"knob '{name}': default, low and high must be whole numbers"))
    elif not 0 <= knob.low <= knob.default <= knob.high <= _MOST:
        wrong.append((at, f"knob '{name}': 0 <= low <= default <= high < 2^32 is wanted"))
    for field in ("unit", "help"):
        text = getattr(knob, field)
        if not isinstance(text, str) or not text.strip() or "\n" in text or "*/" in text:
            wrong.append((at, f"knob '{name}': its {field} is wanted, in one line"))
    return wrong


def _of_counter(name: object, meaning: object) -> Wrong:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return [(f'"{name}"', f"counter '{name}': small letters, digits and '_' are wanted, for C")]
    if not isinstance(meaning, str) or not meaning.strip() or "\n" in meaning or "*/" in meaning:
        return [(f'"{name}"', f"counter '{name}': its meaning is wanted, in one line")]
    return []


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
