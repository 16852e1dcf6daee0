"""In the guest: the checks, a process for each file that is named, a JSON line for each check."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from compiled import asked_of_host

from steering import compile as compiling

FOLDER = Path("/run/matrix")
"""Shared with the host: what is to be compiled, what came of it, and the results."""

compiling._compile = asked_of_host(FOLDER)
compiling.Module.fd = lambda self, table: self._bcc.tables[table]  # type: ignore[method-assign]


class Recorder:
    """Writes down what became of each test."""

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" or report.outcome != "passed":
            row = {"name": report.nodeid.partition("::")[2], "outcome": report.outcome}
            row |= dict(report.user_properties)
            if report.failed:
                row |= {"outcome": "failed", "line": _first_line(report)}
            with (FOLDER / f"checks-{os.getpid()}.jsonl").open("a") as file:
                file.write(json.dumps(row) + "\n")


def _first_line(report: Any) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    return (crash.message if crash else str(report.longrepr)).splitlines()[0]


def main() -> int:
    """The worst of pytest's exit codes, and of the signals that have ended it."""
    arguments = [word for word in sys.argv[1:] if not word.endswith(".py")]
    files = [word for word in sys.argv[1:] if word.endswith(".py")]
    children = [_forked(lambda file=file: _checked(file, arguments)) for file in files]  # type: ignore[misc]
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    return max(map(abs, codes))  # a signal's is negative


def _forked(body: Callable[[], int]) -> int:
    child = os.fork()
    if child == 0:
        os._exit(body())
    return child


def _checked(file: str, arguments: list[str]) -> int:
    own = ["-q", "--timeout=900", "-p", "no:cacheprovider", *arguments, file]
    code = int(pytest.main(own, plugins=[Recorder()]))
    sys.stdout.flush()
    return code


if __name__ == "__main__":
    sys.exit(main())
