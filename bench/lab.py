"""The lab: two hosts in namespaces and one overlay case between them, up and down.

What is made is written down first (``/run/overspray/labs``), and every namespace carries a mark,
so that a killed run is cleaned by the next ``up`` or ``down``, and nothing foreign is touched.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bench import lab_build
from bench.lab_build import Progress
from bench.lab_plan import Endpoint, Lab, LabSpec, check_name, plan, prefix_of
from bench.variant import CASES
from steering import netns
from steering.errors import OversprayError, unknown

__all__ = ["Endpoint", "Lab", "LabSpec", "Progress", "down", "find", "held", "plan", "show", "up"]

STATE = Path("/run/overspray/labs")


def up(spec: LabSpec, progress: Progress = lambda name, done, total: None) -> Lab:
    """The lab of this spec, ready. One that is up already is used; another or half-made one of
    the same name and case is removed and made anew.

    Raises:
        OversprayError: no root, the kernel refused, or a namespace of that name is not ours;
            nothing is left half-made.
    """
    spec = replace(spec, queues=spec.queue_count)
    _need_root()
    lab = plan(spec)
    with _locked():
        if _recorded(spec.name, spec.case) == (spec, True) and _complete(lab):
            return lab
        _remove(spec.name, spec.case)
        foreign = [name for name in lab.namespaces if netns.exists(name)]
        if foreign:
            raise OversprayError(
                f"network namespace '{foreign[0]}' exists and is not the lab's: "
                f"choose another name with --name"
            )
        _record(spec, ready=False)
        try:
            lab_build.build(lab, progress)
        except BaseException:
            _remove(spec.name, spec.case)
            raise
        _record(spec, ready=True)
    return lab


def down(name: str = "osp", case: str | None = None) -> list[str]:
    """Remove the lab of this name and case, or of this name in all cases.

    Returns the names of the namespaces that were removed; none is no error.
    """
    check_name(name)
    if case is not None and case not in CASES:
        raise unknown("case", case, CASES)
    _need_root()
    with _locked():
        cases = CASES if case is None else (case,)
        return [ns for each in cases for ns in _remove(name, each)]


def find(name: str, case: str) -> Lab | None:
    """The lab of this name and case if it is up and whole, else None."""
    recorded = _recorded(name, case)
    if recorded is None or not recorded[1]:
        return None
    lab = plan(recorded[0])
    return lab if _complete(lab) else None


def show(name: str | None = None) -> list[tuple[Lab, bool]]:
    """The labs on record (of one name, or all), each with whether it is whole."""
    found = []
    for path in sorted(STATE.glob("*.json")):
        recorded = _read(path)
        if recorded is not None and name in (None, recorded[0].name):
            lab = plan(recorded[0])
            found.append((lab, recorded[1] and _complete(lab)))
    return found


@contextmanager
def held(spec: LabSpec, progress: Progress = lambda name, done, total: None) -> Iterator[Lab]:
    """The lab for the length of a block; taken down at its end, however it ends."""
    try:
        yield up(spec, progress)
    finally:
        down(spec.name, spec.case)


def _complete(lab: Lab) -> bool:
    """Whether all of the lab's namespaces and devices are there."""
    for name, devices in lab.devices.items():
        if not netns.exists(name) or not devices <= lab_build.devices_of(name):
            return False
    return True


def _remove(name: str, case: str) -> list[str]:
    """Remove what is on record or marked as this lab's, whatever state it is in."""
    recorded = _recorded(name, case)
    listed = plan(recorded[0]).namespaces if recorded else []
    mark = lab_build.mark_of(LabSpec(case=case, name=name))
    marked = [ns for ns in netns.names(prefix_of(name, case)) if lab_build.read_mark(ns) == mark]
    gone = []
    for ns in dict.fromkeys([*listed, *marked]):
        if (netns.RUN / ns).exists():
            lab_build.demolish(ns)
            gone.append(ns)
    _path(name, case).unlink(missing_ok=True)
    return gone


def _record(spec: LabSpec, ready: bool) -> None:
    path = _path(spec.name, spec.case)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps({"spec": asdict(spec), "ready": ready}))
    fresh.replace(path)


def _recorded(name: str, case: str) -> tuple[LabSpec, bool] | None:
    return _read(_path(name, case))


def _read(path: Path) -> tuple[LabSpec, bool] | None:
    """A record; None where there is none that makes sense (marks still find the namespaces)."""
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        return LabSpec(**content["spec"]), bool(content["ready"])
    except (OSError, ValueError, KeyError, TypeError, OversprayError):
        return None


def _path(name: str, case: str) -> Path:
    return STATE / f"{name}-{case}.json"


@contextmanager
def _locked() -> Iterator[None]:
    """One maker of labs at a time on this host; the lock goes with a killed process."""
    STATE.mkdir(parents=True, exist_ok=True)
    handle = os.open(STATE, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _need_root() -> None:
    if os.geteuid() != 0:
        raise OversprayError("the lab needs root for its namespaces: type it with sudo")
