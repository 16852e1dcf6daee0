"""Finds policies: by name on the shelf (``steering/policies``), or by ``@PATH`` anywhere."""

from dataclasses import replace
from pathlib import Path

from steering.errors import BadInput, unknown
from steering.halves import read
from steering.policy import Policy
from steering.spec import Spec

SHELF = Path(__file__).resolve().parent / "policies"


def names() -> list[str]:
    """The policies on the shelf."""
    return sorted(path.parent.name for path in SHELF.glob("*/policy.py"))


def find(spec: Spec) -> Policy:
    """The policy that a spec names.

    Raises:
        BadInput: no such policy, a folder without its two files, or a fault in ``policy.py``.
    """
    if spec.path is not None:
        return load(Path(spec.path).expanduser())
    if spec.name not in names():
        raise unknown("policy", spec.name, names())
    return load(SHELF / spec.name)


def load(folder: Path) -> Policy:
    """The policy in a folder that holds ``policy.py`` and ``policy.h``."""
    for file in ("policy.py", "policy.h"):
        if not (folder / file).is_file():
            raise BadInput(f"no policy in '{folder}': {file} is missing")
    policy, faults = read(folder / "policy.py")
    if policy is None or faults:
        raise BadInput(f"policy {faults[0]}")
    return placed(policy, folder)


def placed(policy: Policy, folder: Path) -> Policy:
    """The policy as one that stands in that folder."""
    return replace(policy, name=folder.resolve().name, folder=folder.resolve())
