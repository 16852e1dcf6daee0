"""The lab: network namespaces that hold one receive path, and nothing that anybody else made.

    native:  wire: wire0 <-> nic0 :host

A lab belongs to a process, which its namespaces' names tell (`bench.owner`): so a dead one's are known, and
the next lab removes them. Only the lab that `overspray lab up` leaves has a name of its own, `os-up-…`.
"""

import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from bench import lab_build, owner
from bench.exclusive import lab_lock
from bench.lab_build import ROLES, Plan
from bench.owner import Owner
from steering import netns
from steering.errors import OversprayError, unknown

CASES = ("native",)
_UP = "os-up"
_OWNED = re.compile(rf"os-{owner.PATTERN}-\d+-(?:{'|'.join(ROLES)})")
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
def lab(case: str = "native") -> Iterator[Lab]:
    """A lab until the end of the block, the only one on this machine.

    Raises:
        BadInput: no such case.
        OversprayError: another lab is in use, or the kernel refused a part.
    """
    _known(case)
    with lab_lock():
        remove_leftovers()
        stem = f"os-{Owner.me()}-{next(_numbers)}"
        try:
            lab_build.build(Plan(), *_names(stem))
            yield _found(case, stem)
        finally:
            _remove(stem)


def up(case: str = "native") -> Lab:
    """Make a lab that stays until :func:`down`; it is there whole, or not at all."""
    with lab(case) as made:
        if _there(_UP):
            raise OversprayError("a lab is up already: 'overspray lab down' removes it")
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
    """``up``, ``in use``, ``left over``; ``unknown``: of a process in another pid namespace."""
    owner: int | None
    """Process id of the run that it belongs to."""
    processes: list[int]
    """Who lives in it."""


def show() -> list[Namespace]:
    """Every namespace of every lab on this machine. Changes nothing."""
    found = []
    whole = _there(_UP)
    for name in netns.names():
        if whose := _owner_of(name):
            state = "left over" if whose.is_dead else "in use" if whose.is_visible else "unknown"
            found.append(Namespace(name, state, whose.pid, netns.processes(name)))
        elif name in _names(_UP):
            state = "up" if whole else "left over"
            found.append(Namespace(name, state, None, netns.processes(name)))
    return found


def remove_leftovers() -> list[str]:
    """Remove namespaces whose run is dead, and a half-made ``os-up``; needs the lab's lock."""
    there = netns.names()
    dead = [name for name in there if (whose := _owner_of(name)) and whose.is_dead]
    if not _there(_UP):
        dead += [name for name in _names(_UP) if name in there]
    for name in dead:
        netns.remove(name)
    return dead


def _known(case: str) -> None:
    if case not in CASES:
        raise unknown("case", case, CASES)


def _owner_of(name: str) -> Owner | None:
    found = _OWNED.fullmatch(name)
    return Owner.of(found) if found else None


def _names(stem: str) -> list[str]:
    return [f"{stem}-{role}" for role in ROLES]


def _there(stem: str) -> bool:
    return all(netns.exists(name) for name in _names(stem))


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
