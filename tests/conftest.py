"""Which tests run side by side; and who may skip.

Tests marked ``root`` may without root; in CI only what the host truly cannot do.
"""

import os
import signal
from collections.abc import Generator
from typing import Any

import pytest

HOST_CANNOT = "host cannot: "
"""A skip whose reason starts so is accepted in CI; every other skip there is a failure."""
OWN_LABS = ("tests/lab/test_verify.py", "tests/lab/test_threats.py")
"""Their labs have names of their own, and what they look at no other lab disturbs."""


def pytest_configure() -> None:
    """What is started in the background ignores ^C, and so would the commands that are tested."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Two processes at most: the labs' tests share names and settings, all others compile a lot."""
    shares = "tests/lab/" in item.nodeid and not item.nodeid.startswith(OWN_LABS)
    group = "lab" if shares else "others"
    item.add_marker(pytest.mark.xdist_group(group))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() == 0:
        return
    for item in items:
        if item.get_closest_marker("root"):
            item.add_marker(pytest.mark.skip(reason="needs root: type 'sudo make test'"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    return _judged((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, Any, Any]:
    return _judged((yield))


def _judged(report: Any) -> Any:
    """Turn a skip that CI does not accept into a failure. An expected failure stays one."""
    if not os.environ.get("CI") or not report.skipped or hasattr(report, "wasxfail"):
        return report
    reason = report.longrepr[2].removeprefix("Skipped: ")
    if not reason.startswith(HOST_CANNOT):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {reason}\n(a reason may start with '{HOST_CANNOT}')"
    return report
