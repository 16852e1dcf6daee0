"""`make matrix` without a guest: which kernel is taken, and what the README is told."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "matrix"))
from kernels import NEWEST, NoKernel, _version
from tried import rows

VERSIONS = ["7.3.4-1~bpo13+1", "7.2.13-1", "6.12.117-1", "6.12.9-1", "6.1.176-1"]


@pytest.mark.parametrize(
    ("wanted", "version"), [(NEWEST, VERSIONS[0]), ("6.12", VERSIONS[2]), ("6.1", VERSIONS[4])]
)
def test_the_newest_of_its_line_is_taken(wanted: str, version: str) -> None:
    assert _version(wanted, VERSIONS) == version


def test_a_kernel_that_is_not_there() -> None:
    with pytest.raises(NoKernel, match=r"no kernel 6\.18 in Debian's"):
        _version("6.18", VERSIONS)


def test_a_row_tells_what_failed_and_what_is_lacking() -> None:
    doctor = [["kernel headers", True, "/usr/src/linux-headers-6.1.0-9-amd64 (stand-in)"]]
    lacking = [["tcx links", False, "tried: no"], ["bridge netfilter", False, ""]]
    cell = {"kernel": "6.1.0-9-amd64", "passed": ["a", "b"], "doctor": doctor + lacking}
    cells = [
        cell | {"cores": 2, "refused": {}, "failed": {}},
        cell | {"cores": 8, "refused": {"c": "not here"}, "failed": {"d": "why"}},
    ]
    assert rows({"userland": "Debian 12, bcc 0.26.0", "cells": cells}) == [
        "| Debian 12, bcc 0.26.0 | Debian's 6.1.0-9-amd64, 2 and 8 cores, emulated | "
        "6.1.0-9-amd64, a stand-in | 4 checks passed, 1 refused in one line, 1 failed: d; "
        "it has no tcx links |"
    ]
