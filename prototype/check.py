"""``overspray policy check``: all that can be found wrong with a policy before it is attached.

Both compilers, the verifier, then seeded traces (`prototype.trace`) at several settings of the knobs: twin
and kernel must decide alike, every slot must exist, and the promised order hold (`prototype.promise`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from prototype import promise, trace
from prototype.decide import Decider
from prototype.form import decision, has_members, mistakes, undefined
from prototype.problem import Faulty, Problem
from prototype.trace import KERNEL, KINDS, Trace
from prototype.twin import Replay, Twin, with_knobs
from steering import code, doctor
from steering.compile import CompileError
from steering.policy import Policy
from xdp import SOURCES

_FIRST = next(iter(KINDS))
PACKETS = 1_000_000
"""Of all traces together, that user space decides on with all knobs at their defaults."""
_LONGEST = 550_000
"""Of these, the first trace."""
_TRIED = 2
"""Settings of the knobs drawn at random, besides defaults and ends."""
_SEED = 1


@dataclass
class Report:
    """What was found."""

    policy: Policy
    problems: list[Problem] = field(default_factory=list)
    not_looked_at: str = ""
    """Why the kernel's half was not tried here; empty: it was."""
    instructions: int | None = None
    """That the verifier looked at, for the whole NIC stage with this policy."""
    before: int | None = None
    """So many last time, on this host since it booted."""
    settings: int = 0
    """Of the knobs, that were tried."""
    decided: int = 0
    """Packets that user space decided on."""
    compared: int = 0
    """Packets that the kernel decided on as well."""
    decision_ns: float | None = None
    """A decision in user space, in a loop: its caches are warm."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "policy": self.policy.name,
            "folder": str(self.policy.folder),
            "ok": not self.problems and not self.not_looked_at,
            "problems": [each.as_dict() for each in self.problems],
            "not_looked_at": self.not_looked_at,
            "instructions": self.instructions,
            "instructions_before": self.before,
            "settings": self.settings,
            "decided": self.decided,
            "compared": self.compared,
            "order": self.policy.order,
            "decision_ns": self.decision_ns,
        }


def check(policy: Policy, note: Callable[[str], None] = lambda text: None) -> Report:
    """Find all that is wrong; ``note`` is told what is being done. The kernel's half needs root.

    Raises OversprayError where a compiler is missing.
    """
    report = Report(policy, mistakes(policy))
    sound = not report.problems
    if not has_members(policy):
        return report
    with ExitStack() as stack:
        note("compiling for this host")
        twin = _twin(policy, report)
        kernel = _kernel(policy, report, stack, note)
        if twin is None or (kernel is None and not report.not_looked_at) or not sound:
            return report
        note(f"deciding on {len(KINDS)} traces")
        _walk(_Walk(report, twin, kernel))
        if not report.problems:
            made = _seen(trace.make(_FIRST, KERNEL, _SEED), policy)
            report.decision_ns = Twin(policy).decision_ns(made, next(_settings(policy)))
    return report


def _twin(policy: Policy, report: Report) -> Twin | None:
    try:
        return Twin(policy, checked=True)
    except Faulty as error:
        report.problems += undefined(policy)
        _add(report, error.problems)
        return None


def _kernel(policy: Policy, report: Report, stack: ExitStack, note: Callable[[str], None]) -> Decider | None:
    """The kernel's half, where it can be had."""
    for row in doctor.examine("capabilities", "BPF"):
        if not row.ok:
            report.not_looked_at = f"{row.value}: {row.fix}"
            return None
    note("compiling for the kernel, and asking the verifier")
    try:
        made = stack.enter_context(Decider(policy))
    except CompileError as error:
        _add(report, [_told(policy, error)])
        return None
    report.instructions, report.before = made.instructions, _since_last(policy, made.instructions)
    return made


def _add(report: Report, found: Sequence[Problem]) -> None:
    """What a compiler says, but for what follows from what is known: a line that the other one has named, and
    our own text where the policy's has mistakes."""
    known = {(each.file, each.line) for each in report.problems}
    for each in found:
        own = each.file is not None and each.file.parent == report.policy.folder
        if (own and (each.file, each.line) not in known) or not report.problems:
            report.problems.append(each)


def _told(policy: Policy, error: CompileError) -> Problem:
    """The compiler names a header by its path, the verifier by its name alone."""
    file, _, line = error.place.rpartition(":")
    if not file:
        return Problem(str(error), policy.header)
    refused = str(error).startswith("the verifier")
    what = f"the verifier stopped here: {error.reason}" if refused else error.reason
    path = next(
        (
            found
            for folder in (policy.folder, SOURCES, SOURCES / "include")
            if (found := folder / file).exists()
        ),
        Path(file),
    )
    return Problem(what, path, int(line))


def _since_last(policy: Policy, now: int | None) -> int | None:
    """What was written the last time; it is written anew."""
    file = code.FOLDER / f"verified-{sha256(str(policy.folder).encode()).hexdigest()[:32]}"
    before = None
    with suppress(OSError, ValueError):
        before = int(file.read_text())
    with suppress(OSError):
        file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if now is not None:
            file.write_text(str(now))
    code.forget_oldest("verified-*")
    return before


@dataclass
class _Walk:
    """What is said of each kind of problem once, with a count of the traces and settings that show it."""

    report: Report
    twin: Twin
    kernel: Decider | None
    first: dict[str, Problem] = field(default_factory=dict)
    more: dict[str, int] = field(default_factory=dict)
    ended: bool = False
    """By a signal: it would end all that follows, too."""

    def say(self, kind: str, problem: Problem) -> None:
        if kind in self.first:
            self.more[kind] = self.more.get(kind, 0) + 1
        self.first.setdefault(kind, problem)

    def all(self) -> Iterator[Problem]:
        for kind, each in self.first.items():
            more = self.more.get(kind, 0)
            yield Problem(f"{each.what} (and {more} times more)" if more else each.what, each.file, each.line)


def _walk(walk: _Walk) -> None:
    """Every trace at every setting; at the first, the defaults, the traces are long."""
    policy, report = walk.twin.policy, walk.report
    settings = [*_settings(policy)]
    for kind in KINDS:
        count = _LONGEST if kind == _FIRST else (PACKETS - _LONGEST) // (len(KINDS) - 1)
        long = _seen(trace.make(kind, count, _SEED), policy)
        short = long.first(KERNEL)
        if not walk.ended:
            _decide(walk, long, settings[0], kernel=False)
        for knobs in settings:
            if not walk.ended:
                _decide(walk, short, knobs, kernel=True)
    report.settings = len(settings)
    report.problems += walk.all()


def _decide(walk: _Walk, made: Trace, knobs: Mapping[str, int], *, kernel: bool) -> None:
    policy, report = walk.twin.policy, walk.report
    where = f"trace '{made.name}'{with_knobs(knobs)}"
    try:
        here = walk.twin.run(made, knobs)
    except Faulty as error:
        for each in error.problems:
            walk.say(f"{each.file}:{each.line}", each)
            walk.ended |= each.line is None
        return
    report.decided += len(made)
    for kind, what in promise.broken(policy.order, knobs, made, here):
        promised = f"promises order '{policy.order}', and " if kind == "order" else ""
        walk.say(kind, Problem(f"{promised}{what}: {where}", *decision(policy)))
    if kernel and walk.kernel is not None:
        there = walk.kernel.run(made, knobs)
        report.compared += len(made)
        if what := _difference(here, there):
            walk.say("alike", Problem(f"{what}: {where}", *decision(policy)))


def _difference(here: Replay, there: Replay) -> str:
    wrong = np.flatnonzero(here.slots != there.slots)
    if len(wrong):
        at = wrong[0]
        return (
            f"user space and kernel differ for {len(wrong)} packets:"
            f" first packet {at}, slot {here.slots[at]} and slot {there.slots[at]}"
        )
    if here.flows != there.flows or here.cores != there.cores:
        return "user space and kernel give the same slots, and remember something else"
    return "" if here.workers == there.workers else "user space and kernel leave other backlogs"


def _settings(policy: Policy) -> Iterator[dict[str, int]]:
    """Defaults first, then all knobs at an end of their range, then some at random; each once."""
    rng = np.random.default_rng(_SEED)
    seen = []
    ends = [
        {name: getattr(knob, end) for name, knob in policy.knobs.items()}
        for end in ("default", "low", "high")
    ]
    drawn = [
        {name: int(rng.integers(knob.low, knob.high, endpoint=True)) for name, knob in policy.knobs.items()}
        for _ in range(_TRIED)
    ]
    for each in ends + drawn:
        if each not in seen:
            seen.append(each)
            yield each


def _seen(made: Trace, policy: Policy) -> Trace:
    """The trace as the datapath would show it to that policy."""
    return made if policy.needs_time else made.untimed()
