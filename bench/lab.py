"""The lab: network namespaces that hold one receive path, and nothing that anybody else made.

    native:  wire: wire0 <-> nic0 :host

A lab belongs to a process, whose pid and start time stand in its namespaces' names: so a dead one's are
known, and the next lab removes them. Only the lab that `overspray lab up` leaves behind has a name of
its own, `os-up-…`.
"""

import itertools
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import lab_build
from bench.exclusive import lab_lock
from bench.lab_build import ROLES, Plan
from steering import netns
from steering.errors import OversprayError, unknown

CASES = ("native",)
_UP = "os-up"
_OWNED = re.compile(rf"os-(?P<pid>\d+)-(?P<start>\d+)-\d+-(?:{'|'.join(ROLES)})")
_numbers = itertools.count()


@dataclass(frozen=True)
class Lab:
    """A lab that is up; the names of its namespaces and devices."""

    case: str
    wire_ns: str
    host_ns: str
    plan: Plan
    wire_index: int
    """ifindex of ``plan.wire`` in the wire's namespace."""
    nic_index: int
    """ifindex of ``plan.nic`` in the host's namespace."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@contextmanager
def lab(case: str = "native", wait_s: float = 0) -> Iterator[Lab]:
    """A lab until the end of the block, the only one on this machine.

    Raises:
        BadInput: no such case.
        OversprayError: another lab is in use (after ``wait_s`` seconds), or the kernel refused a part.
    """
    _known(case)
    with lab_lock(wait_s):
        remove_leftovers()
        stem = f"os-{os.getpid()}-{_start_of(os.getpid())}-{next(_numbers)}"
        try:
            lab_build.build(Plan(), *_names(stem))
            yield _found(case, stem)
        finally:
            _remove(stem)


def up(case: str = "native") -> Lab:
    """Make a lab that stays until :func:`down`; it is there whole, or not at all."""
    _known(case)
    if _there(_UP):
        raise OversprayError("a lab is up already: 'overspray lab down' removes it")
    with lab(case) as made:
        _remove(_UP)
        for role, name in zip(ROLES, (made.wire_ns, made.host_ns), strict=True):
            netns.rename(name, f"{_UP}-{role}")
    return _found(case, _UP)


def down() -> list[str]:
    """Remove the lab that is up, and what killed runs left; returns the removed namespaces."""
    with lab_lock():
        return [*_remove(_UP), *remove_leftovers()]


@dataclass(frozen=True)
class Namespace:
    """A namespace of a lab, whoever made it."""

    name: str
    state: str
    """``up``, ``in use`` or ``left over``."""
    owner: int | None
    """Process id of the run that it belongs to."""
    processes: list[int]
    """Who lives in it."""


def show() -> list[Namespace]:
    """Every namespace of every lab on this machine. Changes nothing."""
    found = []
    whole = _there(_UP)
    for name in netns.names():
        if owner := _OWNED.fullmatch(name):
            state = "in use" if _lives(owner) else "left over"
            found.append(Namespace(name, state, int(owner["pid"]), netns.processes(name)))
        elif name in _names(_UP):
            state = "up" if whole else "left over"
            found.append(Namespace(name, state, None, netns.processes(name)))
    return found


def remove_leftovers() -> list[str]:
    """Remove namespaces whose run is dead, and a half-made ``os-up``; needs the lab's lock."""
    owners = {name: _OWNED.fullmatch(name) for name in netns.names()}
    dead = [name for name, owner in owners.items() if owner and not _lives(owner)]
    if not _there(_UP):
        dead += [name for name in _names(_UP) if name in owners]
    for name in dead:
        netns.remove(name)
    return dead


def _known(case: str) -> None:
    if case not in CASES:
        raise unknown("case", case, CASES)


def _names(stem: str) -> list[str]:
    return [f"{stem}-{role}" for role in ROLES]


def _there(stem: str) -> bool:
    return set(_names(stem)) <= set(netns.names())


def _found(case: str, stem: str) -> Lab:
    """The lab that has been built under that name."""
    plan = Plan()
    wire_ns, host_ns = _names(stem)
    return Lab(case, wire_ns, host_ns, plan, *lab_build.indexes(plan, wire_ns, host_ns))


def _remove(stem: str) -> list[str]:
    there = sorted(set(_names(stem)) & set(netns.names()))
    for name in there:
        netns.remove(name)
    return there


def _lives(owner: re.Match[str]) -> bool:
    """Whether that very process lives: ids are used again, start times are not."""
    return _start_of(int(owner["pid"])) == int(owner["start"])


def _start_of(pid: int) -> int | None:
    """Ticks from boot to the process's start; None where it is dead, also if nobody waited for it yet."""
    try:
        # The name, in brackets, may hold anything: count from behind it (proc(5)).
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])
