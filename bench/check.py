"""``overspray policy check``: all that can be said of a policy before it is attached."""

import json
import os
import platform
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from bench.check_decisions import (
    HOSTED_PACKETS,
    KERNEL_PACKETS,
    SECONDS,
    InKernel,
    apart,
    decided,
    difference,
)
from steering import bpf
from steering.compile import CompileError, Module
from steering.errors import BadInput, OversprayError, unknown
from steering.faults import Fault, line_of
from steering.halves import read
from steering.hosted import Hosted, Slots
from steering.policy import Policy
from steering.registry import SHELF, names, placed
from steering.spec import Spec

_ENDLESS = re.compile(r"\bfor\s*\(\s*;\s*;|\bwhile\s*\(\s*(?:1|true)\s*\)")
_LOOP = re.compile(r"^\s*(?!\*|//).*\b(?:for|while)\s*\(|\bgoto\b")
_COST_ROUNDS = 20
_SIGNALS = {4: "an illegal instruction", 8: "a trap of the CPU", 11: "a bad address"}


@dataclass
class Report:
    """What was found. ``facts`` are what a person reads, by topic."""

    policy: str
    folder: Path
    faults: list[Fault] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Nothing is wrong."""
        return not self.faults

    def add(self, faults: Sequence[Fault]) -> None:
        """Each place once: both compilers complain of it in words of their own."""
        known = {(fault.file, fault.line) for fault in self.faults}
        self.faults += [each for each in faults if (each.file, each.line) not in known]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "policy": self.policy,
            "folder": str(self.folder),
            "ok": self.ok,
            "problems": [fault.as_dict() for fault in self.faults],
            "facts": self.facts,
            "figures": self.figures,
            "left_out": self.left_out,
        }


def folder_of(text: str) -> Path:
    """The folder that NAME, PATH or @PATH means.

    Raises:
        BadInput: there is none.
    """
    if text in names():
        return SHELF / text
    path = Path(text.removeprefix("@")).expanduser()
    if path.is_dir():
        return path.resolve()
    if "/" in text or text.startswith("@"):
        raise BadInput(f"no policy in '{path}': no such folder: type 'overspray policy new NAME'")
    raise unknown("policy", text, names())


def examine(folder: Path, cost: bool = True) -> Report:
    """Check a policy; ``cost``: also time its decision in the kernel, as root."""
    report = Report(folder.name, folder)
    policy = _loaded(report)
    if policy is None:
        return report
    root = os.geteuid() == 0
    hosted = _hosted(policy, report)
    kernel = _in_kernel(policy, report) if root else None
    try:
        if not root:
            report.left_out.append("the kernel's half: it needs root: type it with sudo")
        if hosted is None or not report.ok:
            report.left_out.append("what it decides: it must compile first")
            return report
        slots = _decide(hosted, report)
        if kernel is not None and slots:
            _compare(kernel, policy, slots, report)
    finally:
        if kernel is not None:
            kernel.close()
    if report.ok and root and cost:
        _kernel_cost(report)
    return report


def _loaded(report: Report) -> Policy | None:
    missing = [name for name in ("policy.py", "policy.h") if not (report.folder / name).is_file()]
    report.add([Fault(str(report.folder / name), 0, "is missing") for name in missing])
    if "policy.py" in missing:
        return None
    try:
        policy, faults = read(report.folder / "policy.py")
    except OversprayError as error:
        report.add([Fault(str(report.folder / "policy.py"), 1, str(error))])
        return None
    report.faults += faults
    if policy is None or missing:
        return None
    policy = placed(policy, report.folder)
    try:
        policy.knobs_header()
    except Exception:  # fields of any type; what is wrong with them has been said
        return None
    return policy


def _hosted(policy: Policy, report: Report) -> Hosted | None:
    try:
        hosted = Hosted(policy)
    except CompileError as error:
        # Knobs with faults make a struct with faults: said once is enough.
        again = str(policy.folder / "policy.py") if report.faults else ""
        report.add([fault for fault in error.found if fault.file != again])
        return None
    except OversprayError as error:
        report.left_out.append(str(error))
        return None
    report.facts["user space"] = "compiles"
    return hosted


def _in_kernel(policy: Policy, report: Report) -> InKernel | None:
    """The policy alone, if the whole NIC stage with it is fine."""
    try:
        with Module(
            "steer.bpf.c",
            defines={"POLICY": f'"{policy.header}"', "CORES": bpf.possible_cpus()},
            include=policy.knobs_header(),
            strange=policy.folder.parent != SHELF,
        ) as stage:
            _, count = bpf.prog_info(stage.load("steer", bpf.PROG_TYPE_XDP))
        report.facts["kernel"] = f"compiles; the verifier takes it, {_instructions(policy, count)}"
        report.figures["instructions"] = count
        return InKernel(policy)
    except CompileError as error:
        _add_kernel_faults(policy, error, report)
    except OversprayError as error:
        report.left_out.append(f"the kernel's half: {error}")
    return None


def _add_kernel_faults(policy: Policy, error: CompileError, report: Report) -> None:
    if not error.found:
        if report.ok:
            report.add([_without_place(policy, error)])
        return
    refused = str(error).startswith("the verifier")
    for fault in error.found:
        # The verifier knows the file's last name only.
        file = str(policy.header) if fault.file == policy.header.name else fault.file
        what = f"the verifier refused it: {fault.what}" if refused else fault.what
        if not Path(file).is_relative_to(policy.folder):
            if not report.ok:
                continue  # it follows from what has been said
            file, what = str(policy.header), f"{what} (at {fault.file}:{fault.line})"
            fault = Fault(file, 1, what)
        report.add([Fault(file, fault.line, what)])


def _without_place(policy: Policy, error: CompileError) -> Fault:
    """Of code that never returns the compiler keeps no lines, so the verifier knows none."""
    what = re.sub(r"^(the verifier refused) .* at an unknown line", r"\1 it", str(error))
    return Fault(str(policy.header), _loop_line(policy) if "loop" in what else 0, what)


def _loop_line(policy: Policy) -> int:
    """The line that looks most like a loop without an end; else where the decision begins."""
    lines = policy.header.read_text(errors="replace").splitlines()
    for kind in (_ENDLESS, _LOOP):
        found = [number for number, line in enumerate(lines, 1) if kind.search(line)]
        if len(found) == 1:
            return found[0]
    return line_of(policy.header, "policy_slot(")


def _instructions(policy: Policy, count: int) -> str:
    """The verifier's work, beside that of the last check on this kernel; keeps it for the next."""
    state = Path(os.environ.get("XDG_STATE_HOME", Path.home() / ".local/state"))
    name = sha256(f"{policy.folder} {platform.release()}".encode()).hexdigest()[:16]
    path = state / "overspray" / "policy-check" / f"{name}.json"
    before: int | None = None
    # Nothing there in the first run; or something else, which is not worth a word.
    with suppress(OSError, ValueError, KeyError, TypeError):
        before = int(json.loads(path.read_text())["instructions"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"folder": str(policy.folder), "instructions": count}) + "\n")
    text = f"{count:,} instructions processed"
    return text if before is None else f"{text} ({count - before:+,} since the last check)"


def _decide(hosted: Hosted, report: Report) -> list[Slots]:
    policy = hosted.policy
    try:
        seen = apart(lambda: decided(hosted), SECONDS)
    except TimeoutError:
        what = f"no end after {SECONDS} s in user space: a loop that never ends?"
        report.add([Fault(str(policy.header), _loop_line(policy), what)])
        return []
    except ChildProcessError as error:
        number = int(re.sub(r"\D", "", str(error)) or 0)
        reason = _SIGNALS.get(number, str(error))
        report.add([_at_decision(policy, f"the process ended in user space: {reason}")])
        return []
    if seen.fault is not None:
        where = f"(packet {seen.fault.step} of a trace): the contract forbids it"
        fault = seen.fault.fault
        report.add([Fault(fault.file, fault.line, f"{fault.what} {where}")])
        return []
    if seen.wrong:
        report.add([_at_decision(policy, what) for what in seen.wrong])
        return []
    report.facts["decisions"] = f"{HOSTED_PACKETS:,} in user space, all slots exist"
    report.facts["order"] = f"{policy.order}: kept on adversarial traces"
    report.figures["ns_user_space"] = round(seen.ns, 1)
    report.facts["cost"] = f"{seen.ns:.1f} ns a decision in user space, handing it in included"
    return seen.slots


def _compare(kernel: InKernel, policy: Policy, slots: list[Slots], report: Report) -> None:
    differ = difference(kernel, policy, slots)
    if differ:
        report.add([_at_decision(policy, differ)])
    else:
        report.facts["decisions"] += f"; of these {KERNEL_PACKETS:,} in the kernel: the same"


def _at_decision(policy: Policy, what: str) -> Fault:
    return Fault(str(policy.header), line_of(policy.header, "policy_slot("), what)


def _kernel_cost(report: Report) -> None:
    from bench.cost import measure

    name = report.policy if report.folder.parent == SHELF else f"@{report.folder}"
    try:
        [found] = measure([Spec.parse(name)], _COST_ROUNDS)
    except OversprayError as error:
        report.left_out.append(f"its cost in the kernel: {error}")
        return
    ns = max(0.0, found.parts["policy"].median)  # a difference of two medians
    report.figures["ns_kernel"] = round(ns, 1)
    report.facts["cost"] += f"; {ns:.1f} ns in the kernel"
