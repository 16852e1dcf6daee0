"""Without root: attaching with the capabilities that docs/attach.md names, and with none less."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from attached import missing, snapshot, traffic, until

from bench import lab as labs
from bench.lab_plan import Lab
from bench.sinks import CountSink
from bench.wire import Wire
from steering import control, journal
from steering.capabilities import ATTACHING, NUMBERS

pytestmark = [pytest.mark.root, pytest.mark.slow]
NOBODY = 64123
MAIN = "from bench.cli import main; main()"
UNASKED = "from steering import capabilities; capabilities.lacking = lambda names: []; "
"""In front of a program: capabilities that are missing are not noticed before they are."""
ROOT = Path(__file__).parents[2]
BY_PLAN = {"CAP_SYS_NICE": "local:nice=5", "CAP_DAC_OVERRIDE": "local:rps=1"}
OPEN = """
mkdir -p /run/overspray/open && mount --bind "$1" /run/overspray/open && mount -t tmpfs tmpfs "$2"
mkdir -p "$1" && mount --move /run/overspray/open "$1" && shift 2 && exec "$@"
"""
"""Shell: a folder behind a closed one, for all to see, in a mount namespace of its own."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with labs.held(labs.LabSpec("docker", "unp", containers=2)) as made:
        yield made


@pytest.fixture(scope="module", autouse=True)
def state() -> Iterator[None]:
    """/run/overspray belongs to the one who attaches, as RuntimeDirectory= makes it."""
    folders = [control.SOCKETS.parent, control.SOCKETS, journal.JOURNALS]
    before = {}
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        before[folder] = folder.stat()
        os.chown(folder, NOBODY, NOBODY)
    yield
    for folder, was in before.items():
        os.chown(folder, was.st_uid, was.st_gid)


class Nobody:
    """Types commands as a user that is not root, with some capabilities."""

    def __init__(self, cache: Path) -> None:
        self._env = {**os.environ, "XDG_CACHE_HOME": str(cache)}
        closed = [each for each in ROOT.parents if not each.stat().st_mode & 1]
        script = ("unshare", "--mount", "sh", "-ec", OPEN, "sh", str(ROOT))
        self._open = (*script, str(closed[-1])) if closed else ()

    def python(
        self, program: str, *words: str, caps: tuple[str, ...] = ()
    ) -> "subprocess.CompletedProcess[str]":
        """Run a Python program."""
        given = ",".join(("-all", *(f"+{cap.removeprefix('CAP_').lower()}" for cap in caps)))
        user = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
        limits = (f"--inh-caps={given}", f"--ambient-caps={given}", f"--bounding-set={given}")
        command = (*self._open, *user, *limits, sys.executable, "-c", program, *words)
        return subprocess.run(
            command, capture_output=True, text=True, timeout=100, env=self._env, cwd=ROOT
        )

    def __call__(self, *words: str, caps: tuple[str, ...] = (), code: int = 0) -> str:
        """One command; its stdout, or its one line on stderr where it has to fail."""
        done = self.python(MAIN, *words, caps=caps)
        assert done.returncode == code, done.stderr
        if not code:
            return done.stdout
        assert done.stderr.startswith("overspray: ") and done.stderr.count("\n") == 1, done.stderr
        return done.stderr


@pytest.fixture(scope="module")
def nobody() -> Iterator[Nobody]:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are closed to others
        os.chown(folder, NOBODY, NOBODY)
        yield Nobody(Path(folder))


@pytest.fixture(autouse=True)
def as_found(lab: Lab, nobody: Nobody) -> Iterator[None]:
    before = snapshot(lab)
    yield
    if control.listed():
        nobody("detach", lab.nic, caps=ATTACHING)
    with suppress(AssertionError):
        until(lambda: snapshot(lab) == before, seconds=2)
    assert snapshot(lab) == before


def attach(lab: Lab, policy: str = "local") -> tuple[str, ...]:
    here = ("attach", lab.nic, "--netns", lab.host_ns, "--cpus", "1", "--detached")
    return (*here, "--policy", policy)


@pytest.mark.parametrize("delivery", ["peer", "veth"])
def test_all_of_it(lab: Lab, nobody: Nobody, delivery: str) -> None:
    before = snapshot(lab)
    nobody(*attach(lab), "--deliver", delivery, caps=ATTACHING)
    assert snapshot(lab) != before
    with Wire(lab) as wire, CountSink(lab) as sink:
        with traffic(wire, sink, 5000, flows=2):
            time.sleep(0.2)
            nobody("swap", lab.nic, "pin")
            time.sleep(0.2)
        assert missing(wire, sink) == 0
        sent = wire.offered().sent
    (facts,) = json.loads(nobody("status", "--json"))["controllers"]
    steer = facts["counters"]["steer"]
    assert steer["local"]["count"] > 500 and steer["remote"]["count"] > 500
    assert steer["local"]["count"] + steer["remote"]["count"] == sent
    nobody("detach", lab.nic)
    assert snapshot(lab) == before


def test_a_killed_controller_is_put_back(lab: Lab, nobody: Nobody) -> None:
    before = snapshot(lab)
    words = (*attach(lab), "--deliver", "veth", "--json")
    os.kill(json.loads(nobody(*words, caps=ATTACHING))["pid"], signal.SIGKILL)
    until(lambda: snapshot(lab) == before)
    assert "controller was killed" in nobody("status", caps=ATTACHING)


@pytest.mark.parametrize("cap", ATTACHING)
def test_each_is_named_where_it_is_missing(lab: Lab, nobody: Nobody, cap: str) -> None:
    less = tuple(each for each in ATTACHING if each != cap)
    assert f"attaching needs {cap}:" in nobody(*attach(lab), caps=less, code=1)


@pytest.mark.parametrize("cap", ["CAP_NET_ADMIN", "CAP_SYS_ADMIN"])
def test_each_is_needed(lab: Lab, nobody: Nobody, cap: str) -> None:
    less = tuple(each for each in ATTACHING if each != cap)
    done = nobody.python(UNASKED + MAIN, *attach(lab), caps=less)
    assert done.returncode != 0 and "not permitted" in done.stderr
    assert not control.listed()


@pytest.mark.parametrize(("cap", "policy"), BY_PLAN.items())
def test_what_a_plan_needs_beyond(lab: Lab, nobody: Nobody, cap: str, policy: str) -> None:
    assert f"needs {cap}:" in nobody(*attach(lab, policy), caps=ATTACHING, code=1)
    done = nobody.python(UNASKED + MAIN, *attach(lab, policy), caps=ATTACHING)
    assert done.returncode != 0
    assert re.search("not permitted|Permission denied", done.stderr)
    assert not control.listed()
    nobody(*attach(lab), caps=ATTACHING)
    assert f"needs {cap}:" in nobody("swap", lab.nic, policy, code=1)
    nobody("detach", lab.nic)
    nobody(*attach(lab, policy), caps=(*ATTACHING, cap))
    nobody("detach", lab.nic)


def test_namespaces_that_only_a_process_leads_to(nobody: Nobody) -> None:
    program = (
        "from steering.overlay.namespaces import Namespaces\n"
        "with Namespaces() as all: all.scan(); print(*(each.inode for each in all))"
    )
    with subprocess.Popen(["unshare", "--net", "sleep", "60"]) as process:
        own = Path("/proc/self/ns/net").stat().st_ino
        at = Path(f"/proc/{process.pid}/ns/net")
        until(lambda: at.stat().st_ino != own)
        seen = [
            str(at.stat().st_ino) in nobody.python(program, caps=caps).stdout.split()
            for caps in (ATTACHING, ("CAP_NET_ADMIN", "CAP_SYS_ADMIN"))
        ]
        process.kill()
    assert seen == [True, False]


def test_namespaces_behind_a_closed_folder(lab: Lab, nobody: Nobody, tmp_path: Path) -> None:
    (closed := tmp_path / "closed").mkdir(mode=0o700)
    (name := closed / "ns").touch()
    subprocess.run(["unshare", f"--net={name}", "true"], check=True)
    try:
        assert "needs CAP_DAC_READ_SEARCH:" in nobody(*attach(lab), caps=ATTACHING, code=1)
        nobody(*attach(lab), caps=(*ATTACHING, "CAP_DAC_READ_SEARCH"))
        nobody("detach", lab.nic)
    finally:
        until(lambda: subprocess.run(["umount", "-q", str(name)]).returncode == 0)


def test_state_of_somebody_else(nobody: Nobody) -> None:
    os.chown(control.SOCKETS, 0, 0)
    try:
        for words in (("status",), ("detach", "--all"), ("top",)):
            assert f"needs '{control.SOCKETS}', which is not yours" in nobody(*words, code=1)
    finally:
        os.chown(control.SOCKETS, NOBODY, NOBODY)


def test_all_of_them_are_written_down() -> None:
    for page in ("attach", "security"):
        text = (ROOT / f"docs/{page}.md").read_text()
        assert all(f"`{name}`" in text for name in NUMBERS), page
