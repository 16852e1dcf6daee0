"""Steering policies: what one is in Python, and where they are found.

The decision itself is C and stands in ``policy.h`` beside the policy's ``policy.py``; the contract between
the two is xdp/include/policy.h.
"""

import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from steering.errors import BadInput, unknown
from steering.knobs import Knob
from steering.layout import header
from steering.spec import Spec
from xdp import INCLUDE

CONTRACT = header("policy.h").constants["POLICY_CONTRACT"]
SHELF = Path(__file__).resolve().parent / "policies"
TEMPLATE = SHELF.parent / "template"
"""What a new policy begins with."""


class Order(StrEnum):
    """The order of one flow's packets that a policy promises."""

    STRICT = "strict"
    """As they came."""
    CELL = "cell"
    """As they came inside a cell; cells may overtake each other."""
    UNORDERED = "unordered"
    """Any."""


@dataclass(frozen=True)
class Policy:
    """The Python half of a policy."""

    summary: str
    order: Order
    knobs: Mapping[str, Knob]
    good: str
    """What it is good for."""
    drowns: str
    """When it is not."""
    needs_time: bool = False
    """Whether ``packet->now`` is read for every packet, which costs a clock."""
    needs_through: bool = False
    """Whether workers say which packets are past their core, which costs a clock for every batch."""
    contract: int = 1
    """POLICY_CONTRACT of the xdp/include/policy.h that it was written for."""
    name: str = ""
    folder: Path = field(default=Path())

    @property
    def header(self) -> Path:
        """The C half."""
        return self.folder / "policy.h"

    def defines(self) -> dict[str, str | int]:
        """What steer.bpf.c is compiled with: where the C half is, and what ``struct knobs`` holds."""
        members = " ".join(f"__u32 {name};" for name in self.knobs) or "__u32 none;"
        needs = {"TIME": self.needs_time, "THROUGH": self.needs_through}
        return {
            "POLICY": f'"{self.header}"',
            "KNOBS": members,
            **{f"POLICY_NEEDS_{what}": int(needed) for what, needed in needs.items()},
        }


def names() -> list[str]:
    """The policies on the shelf."""
    return sorted(path.parent.name for path in SHELF.glob("*/policy.py"))


def find(spec: Spec) -> Policy:
    """The policy that a spec names: on the shelf, or ``@PATH`` anywhere.

    Raises:
        BadInput: no such policy, a folder without its two files, a ``policy.py`` that defines none, or one
            for another version of the contract.
    """
    if spec.path is not None:
        try:
            return load(Path(spec.path).expanduser())
        except RuntimeError:
            raise BadInput(f"'{spec.path}': nobody of that name has a home here") from None
    if spec.name not in names():
        raise unknown("policy", spec.name, names())
    return load(SHELF / spec.name)


def load(folder: Path) -> Policy:
    """The policy in a folder that holds ``policy.py`` and ``policy.h``; raises as :func:`find`."""
    for file in ("policy.py", "policy.h"):
        if not (folder / file).is_file():
            raise BadInput(f"no policy in '{folder}': {file} is missing")
    path = folder / "policy.py"
    spec = importlib.util.spec_from_file_location(f"overspray_policy_{folder.name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a stranger's file may raise anything
        raise BadInput(f"policy '{path}': {type(error).__name__}: {error}") from None
    policy = getattr(module, "POLICY", None)
    if not isinstance(policy, Policy):
        raise BadInput(f"policy '{path}' defines no POLICY = Policy(…)")
    if not isinstance(policy.knobs, Mapping) or not all(isinstance(k, Knob) for k in policy.knobs.values()):
        raise BadInput(f"policy '{path}': knobs is no {{name: Knob(…)}}")
    if policy.contract != CONTRACT:
        raise BadInput(
            f"policy '{path}' is for contract {policy.contract}, and this overspray has {CONTRACT}:"
            f" see {INCLUDE}/policy.h for what is asked now, and write contract={CONTRACT}"
        )
    return replace(policy, name=folder.resolve().name, folder=folder.resolve())


def write(name: str, where: Path) -> Path:
    """A folder of that name, in ``where``, with a policy to begin with; returns its path.

    Raises:
        BadInput: the name is none, or taken by the shelf, or the folder is there already.
    """
    if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
        raise BadInput(f"'{name}' is no name of a policy: small letters, digits and '-'")
    if name in names():
        raise BadInput(f"policy '{name}' is on the shelf: choose another name")
    folder = where / name
    try:
        folder.mkdir()
    except FileExistsError:
        raise BadInput(f"'{folder}' is there already: choose another name") from None
    except OSError as error:
        raise BadInput(f"can't make '{folder}': {error.strerror}") from None
    for file in ("policy.h", "policy.py"):
        (folder / file).write_text((TEMPLATE / file).read_text().replace("template:", f"{name}:"))
    return folder
