"""What a host was like: plain values, nothing that identifies it, and the steal between two."""

import json
import os
import platform
import re
from pathlib import Path

import pytest

from bench.fingerprint import cpu_seconds, fingerprint, steal_between

STAT = "cpu  {user} 0 0 {idle} 0 0 0 {steal} 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n"


def at(user: int, idle: int, steal: int) -> dict[str, dict[str, float]]:
    return {"cpu_seconds": cpu_seconds(STAT.format(user=user, idle=idle, steal=steal))}


def test_it_survives_json_and_knows_the_host() -> None:
    found = fingerprint()
    assert json.loads(json.dumps(found)) == found
    assert found["kernel"] == platform.release()
    assert found["cores"] == sorted(os.sched_getaffinity(0))
    assert found["packages"]["numpy"]
    assert found["sysctls"]["net.core.netdev_max_backlog"].isdecimal()


def test_nothing_in_it_identifies_the_host() -> None:
    text = json.dumps(fingerprint())
    assert platform.node() not in re.findall(r"[\w.-]+", text)
    assert str(Path(__file__).parents[2]) not in text and str(Path.home()) + "/" not in text
    assert not re.search(r"\b(\d{1,3}\.){3}\d{1,3}\b|\b([0-9a-f]{2}:){5}", text)


def test_a_host_without_git_has_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert fingerprint()["commit"] is None


def test_steal_is_a_share_of_all_time() -> None:
    assert steal_between(at(100, 100, 10), at(150, 140, 20)) == pytest.approx(0.1)
    assert steal_between(at(100, 100, 10), at(150, 150, 10)) == 0


def test_steal_is_none_where_nothing_tells() -> None:
    assert steal_between(at(1, 1, 1), at(1, 1, 1)) is None
    assert steal_between({}, at(1, 1, 1)) is None
