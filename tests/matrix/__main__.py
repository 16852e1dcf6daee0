"""``make matrix``: other kernels and more cores, emulated; what came of it is kept and shown."""

import argparse
import json
import os
import platform
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from boot import NotBegun, Unfinished, run
from compiled import Service
from kernels import WANTED, Kernel, NoKernel, fetched
from tried import RESULT

sys.path.insert(0, str(Path(__file__).parents[1] / "verifier"))
import counts

CORES = (2, 8)
FILES = ["tests/matrix/check_programs.py", "tests/matrix/check_spread.py"]
BOOTS = 3
"""Of a guest that ends before its checks begin: qemu (7.2) fails now and then where a kernel, while
it boots, changes code that another core runs."""
_NONE_OF_THAT_NAME = 5
"""Pytest's exit code where a file has no check that is asked for."""
SOME = "test_doctor or test_program or [safe or [roundrobin"
FEW_CORES = f"not test_spread or {SOME}"
"""With two cores every policy is checked, and some are spread;"""
MANY_CORES = f"not test_policy and not test_the_verifiers_work or {SOME}"
"""with more it is the other way round: the verifier does not ask for cores."""


@dataclass
class Cell:
    """One kernel with so many cores, and what its checks said."""

    wanted: str
    kernel: str
    cores: int
    seconds: int = 0
    boots: int = 0
    doctor: list[list[Any]] = field(default_factory=list)
    """Rows of `overspray doctor`: name, whether it is there, what was found."""
    passed: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    """What the kernel lacks, each with the line in which it was refused."""
    failed: dict[str, str] = field(default_factory=dict)
    verifier: dict[str, int] = field(default_factory=dict)
    """Instructions that it looked at, by program."""

    def add(self, row: dict[str, Any]) -> None:
        """What became of one check."""
        self.doctor = row.get("doctor", self.doctor)
        self.verifier = row.get("verifier", self.verifier)
        if row["outcome"] == "passed":
            self.passed.append(row["name"])
        else:
            kind = self.refused if row["outcome"] == "refused" else self.failed
            kind[row["name"]] = row.get("line", row["outcome"])

    def __str__(self) -> str:
        counts = (
            f"{len(self.passed)} passed, {len(self.refused)} refused, {len(self.failed)} failed"
        )
        return f"{self.kernel}, {self.cores} cores: {counts} in {self.seconds} s"


def main() -> int:
    """Exit code 1 where a check failed or a kernel can't be had; the short form needs none."""
    given = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and no guest is left
    if os.geteuid() != 0:
        print("matrix: needs root, as what it compiles: type 'sudo make matrix'", file=sys.stderr)
        return 2
    try:
        kernels = fetched(tuple(given.kernel))
    except NoKernel as error:
        print(f"matrix: not run: {error}")
        return int(not given.short)
    service, broken = Service(), False
    for wanted, kernel in kernels.items():
        for cores in given.cores:
            cell = _run(wanted, kernel, cores, service, given)
            if cell.verifier and not given.short:
                grown = counts.keep(cell.kernel, cell.verifier, given.why)
                cell.failed.update({f"verifier: {line}": "say why: --why" for line in grown})
            broken |= bool(cell.failed)
            print(f"matrix: {cell}", flush=True)
            for name, line in cell.failed.items():
                print(f"matrix: {name}: {line}")
            if not given.short and not given.only:
                _keep(cell)
    return int(broken)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make matrix")
    add = parser.add_argument
    add("--kernel", choices=WANTED, action="append", help="one of them; again for more")
    add("--cores", type=int, action="append", help="so many; again for more")
    add("--only", help="checks of that name (pytest's -k); nothing but the verifier's work is kept")
    add("--why", default="", help="why programs have grown for the verifier")
    add("--short", action="store_true", help="a few checks; nothing is kept")
    add("--seconds", type=float, default=3600, help="that a cell may take")
    given = parser.parse_args()
    given.kernel, given.cores = given.kernel or WANTED, given.cores or CORES
    return given


def _run(
    wanted: str, kernel: Kernel, cores: int, service: Service, given: argparse.Namespace
) -> Cell:
    cell, begin = Cell(wanted, kernel.release, cores), time.monotonic()

    def told(row: dict[str, Any]) -> None:
        cell.add(row)
        took = time.monotonic() - begin
        print(f"{took:5.0f} s  {row['outcome']:8}{row['name']}", file=sys.stderr, flush=True)

    print(f"matrix: {kernel.release}, {cores} cores", file=sys.stderr)
    chosen = SOME if given.short else FEW_CORES if cores <= CORES[0] else MANY_CORES
    chosen = given.only or chosen
    for boot in range(1, BOOTS + 1):
        try:
            code = run(kernel, cores, ["-k", chosen, *FILES], service, given.seconds, told)
            nothing_there = given.only and cell.passed and code == _NONE_OF_THAT_NAME
            if code and not cell.failed and not nothing_there:
                cell.failed["pytest"] = f"exit code {code}"
        except NotBegun as error:
            if boot < BOOTS:
                print(f"matrix: booted again: {error}", file=sys.stderr)
                continue
            cell.failed["boot"] = str(error)
        except Unfinished as error:
            cell.failed["guest"] = str(error)
        break
    cell.boots, cell.seconds = boot, round(time.monotonic() - begin)
    return cell


def _keep(cell: Cell) -> None:
    """In place of what was kept of such a cell before."""
    kept: list[dict[str, Any]] = []
    if RESULT.exists():
        kept = json.loads(RESULT.read_text())["cells"]
    place = (cell.wanted, cell.cores)
    cells = [each for each in kept if (each["wanted"], each["cores"]) != place]
    cells.append({key: value for key, value in vars(cell).items() if key != "verifier"})
    cells.sort(key=lambda each: (WANTED.index(each["wanted"]), each["cores"]))
    found = {"command": "make matrix", "userland": _userland(), "cells": cells}
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(found, indent=1) + "\n")


def _userland() -> str:
    from bcc import __version__ as bcc

    release = platform.freedesktop_os_release()
    return f"{release['ID'].capitalize()} {release.get('VERSION_ID', '')}, bcc {bcc}"


if __name__ == "__main__":
    sys.exit(main())
