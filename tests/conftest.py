"""Who may skip, and what surrounds the tests.

The folder tells what a test needs: nothing below unit/, root elsewhere, and of the kernel what `_NEEDS` says.
A test is skipped without root, and where the doctor finds by trying that this kernel can't. Any other skip is
a failure; in CI one for want of root as well.

`make test` runs in two processes. A folder's tests that need root come one after another in one of them:
two labs at once would want the same cores.
"""

import ctypes
import functools
import os
import re
import signal
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

HOST_CANNOT = "host cannot: "
NEEDS_ROOT = "needs root: type 'sudo make test'"
_REAL_FRAMES = ("devices", "native XDP on veth", "live frames", "tracepoints")
_NEEDS = {"bpf": ("BPF", "tracepoints"), "lab": _REAL_FRAMES, "long": _REAL_FRAMES, "setup": ()}
"""Rows of the doctor that speak of the kernel alone: what set-up brings is no reason to skip."""
_TESTS = Path(__file__).parent
# A lock of this run's own: a person who has a lab in use, or another run, fails no test. Set here, for
# bench.exclusive reads it when it is imported.
os.environ["OVERSPRAY_LOCK"] = f"/run/overspray/test-{os.getpid()}.lock"


PR_SET_PDEATHSIG = 1
_NOT_INHERITED = (
    *("FORCE_COLOR", "GITHUB_ACTIONS", "BCC_KERNEL_SOURCE", "PYTHONUNBUFFERED"),
    "PYTHONDONTWRITEBYTECODE",  # each of the many commands that are started would translate all modules anew
)


def pytest_configure(config: pytest.Config) -> None:
    """What is inherited from the caller changes no test."""
    if hasattr(config, "workerinput"):  # one of two: it ends with the one that it reports to
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # What is started in the background ignores ^C, what nohup starts ignores the hang-up, and so would the
    # commands that are tested.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    for name in _NOT_INHERITED:
        os.environ.pop(name, None)
    os.environ.update(NO_COLOR="1", COLUMNS="120")


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folder = item.path.relative_to(_TESTS).parts[0]
        if folder == "long":
            item.add_marker(pytest.mark.long)
        if folder in _NEEDS:
            item.add_marker(pytest.mark.root)
            item.add_marker(pytest.mark.xdist_group(folder))
            item.add_marker(pytest.mark.needs(*_NEEDS[folder]))
            if os.geteuid() != 0:
                item.add_marker(pytest.mark.skip(reason=NEEDS_ROOT))


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        for row in mark.args:
            if missing := _missing(row):
                pytest.skip(HOST_CANNOT + missing)


@functools.cache
def _missing(row: str) -> str:
    from steering import doctor

    [found] = doctor.examine(row)
    return "" if found.ok else f"{found.name}: {found.value}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    return _judged((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, Any, Any]:
    return _judged((yield))


def _judged(report: Any) -> Any:
    """A skip for any other reason becomes a failure. An expected failure stays one."""
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        accepted = reason == NEEDS_ROOT and not os.environ.get("CI")
        if not (accepted or reason.startswith(HOST_CANNOT)):
            report.outcome = "failed"
            report.longrepr = f"skipped: {reason}\n(only what the doctor finds missing may be skipped)"
    return report


@pytest.fixture(scope="session", autouse=True)
def swept() -> Iterator[None]:
    """What killed test runs left: locks, and names that no lab would give. The rest the next lab removes."""
    if os.geteuid() == 0:
        from steering import netns
        from steering.owner import start_of

        for name in netns.names():
            owner = re.search(r"test(\d+)", name)
            if owner and start_of(int(owner[1])) is None:
                netns.remove(name)
        for lock in Path("/run/overspray").glob("test-*.lock"):
            owner = re.fullmatch(r"test-(\d+)", lock.stem)
            if owner and start_of(int(owner[1])) is None:
                lock.unlink(missing_ok=True)
    yield
    Path(os.environ["OVERSPRAY_LOCK"]).unlink(missing_ok=True)
