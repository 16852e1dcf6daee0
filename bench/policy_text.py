"""What ``overspray policy show`` says of one policy."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.check import folder_of
from bench.policy_table import BEST
from steering.policy import Knob, Order
from steering.registry import load
from steering.stock import STEERING

_OPENING = re.compile(r"/\*(.*?)\*/", re.S)


def described(name: str) -> dict[str, Any]:
    """Everything about a policy of ours or a stock steering.

    Raises:
        BadInput: there is none of that name or in that folder.
    """
    if name in STEERING or name == "stock-best":
        stock = STEERING.get(name)
        return {
            "name": name,
            "kind": "stock",
            "order": str(Order.STRICT),
            "summary": stock.summary if stock else BEST,
            "good": "",
            "drowns": "",
            "needs": [],
            "opening": "",
            "knobs": _knobs(stock.knobs if stock else {}),
            "files": [],
        }
    policy = load(folder_of(name))
    return {
        "name": policy.name,
        "kind": "ours",
        "order": str(policy.order),
        "summary": policy.summary,
        "good": policy.good,
        "drowns": policy.drowns,
        "needs": sorted(str(need) for need in policy.needs),
        "opening": opening(policy.header),
        "knobs": _knobs(policy.knobs),
        "files": [str(policy.header), str(policy.folder / "policy.py")],
    }


def opening(path: Path) -> str:
    """The comment that a header opens with, without its frame and its licence."""
    found = _OPENING.match(path.read_text().lstrip())
    lines = [
        re.sub(r"^[ \t]*\*? ?", "", line).rstrip()
        for line in (found[1] if found else "").split("\n")
    ]
    return "\n".join(line for line in lines if "SPDX-License-Identifier" not in line).strip("\n")


def _knobs(knobs: Mapping[str, Knob]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "default": knob.default,
            "low": knob.low,
            "high": knob.high,
            "unit": knob.unit,
            "help": knob.help,
        }
        for name, knob in knobs.items()
    ]
