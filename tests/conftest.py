"""Who may skip, and what all tests have at hand.

A test that needs root is skipped without it; in CI, and wherever the kernel could do it, a skip is a failure.
"""

import os
import signal
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from steering import doctor

ROOT = Path(__file__).resolve().parents[1]
HOST_CANNOT = "host cannot: "
"""A skip whose reason starts so is one that the doctor has found by trying; every other is a failure."""
NEEDS_ROOT = "needs root: type 'sudo make test'"
_OF_ROOT = ("bpf", "lab", "setup", "long")


def pytest_configure() -> None:
    """What is started in the background ignores ^C, and so would the commands that are tested."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The folder tells what a test needs: nothing below unit/, root elsewhere."""
    for item in items:
        folder = item.path.relative_to(ROOT / "tests").parts[0]
        if folder == "long":
            item.add_marker(pytest.mark.long)
        if folder in _OF_ROOT:
            item.add_marker(pytest.mark.root)
            if os.geteuid() != 0:
                item.add_marker(pytest.mark.skip(reason=NEEDS_ROOT))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """``@pytest.mark.needs("cpumap GRO")``: skip where the doctor finds that this kernel can't."""
    for mark in item.iter_markers("needs"):
        for row in doctor.examine(*mark.args):
            if not row.ok:
                pytest.skip(f"{HOST_CANNOT}{row.name}: {row.value}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        accepted = reason == NEEDS_ROOT and not os.environ.get("CI")
        if not (accepted or reason.startswith(HOST_CANNOT)):
            report.outcome = "failed"
            report.longrepr = f"skipped: {reason}\n(only what the doctor finds missing may be skipped)"
    return report
