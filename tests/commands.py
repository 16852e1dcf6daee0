"""The ``overspray`` command as a person types it, in a process of its own."""

import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from bench.cli import run

ROOT = Path(__file__).resolve().parents[1]


DYING_WITH_US = ("setpriv", "--pdeathsig", "KILL")
"""An orphan of a killed test run would keep the lab's lock."""
WITHOUT_RIGHTS = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all")
"""For ``before=``: root by name, with no capability."""


def command(*arguments: str) -> list[str]:
    """``overspray ARGUMENTS`` in a process that dies with this one."""
    return [*DYING_WITH_US, str(Path(sys.executable).with_name("overspray")), *arguments]


def overspray(*arguments: str, before: tuple[str, ...] = ()) -> "subprocess.CompletedProcess[str]":
    """Run the command to its end; ``before`` it stands what it is run by."""
    return subprocess.run(
        [*before, *command(*arguments)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
    )


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def here(*arguments: str) -> Done:
    """Run the command in this process, where there are many: what takes longest is to start one."""
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        code = run(arguments)
    return Done(code, out.getvalue(), err.getvalue())
