"""``setup/install``: what it does again and what it does not, and what it says where it can't go on.

pip is stood in for by a script that writes down what it was asked, so that no test needs the network;
tests/long sets up from nothing.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import ROOT

PYTHON = "/usr/bin/python3"
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


@pytest.fixture
def clone() -> Iterator[Path]:
    """What the set-up reads, in a folder that other users may enter."""
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="overspray-setup-"))
    folder.chmod(0o755)
    shutil.copytree(ROOT / "setup", folder / "setup")
    shutil.copy(ROOT / "pyproject.toml", folder)
    subprocess.run(["chmod", "-R", "a+rX", folder], check=True)  # whatever the umask of the checkout was
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def asked(clone: Path) -> Path:
    """A .venv that is made already, whose python only writes down its arguments."""
    (clone / ".venv/bin").mkdir(parents=True)
    written = clone / "asked"
    stand_in = clone / ".venv/bin/python"
    stand_in.write_text(f'#!/bin/sh\necho "$*" >>{written}\n')
    stand_in.chmod(0o755)
    version = subprocess.run([PYTHON, "-V"], capture_output=True, text=True).stdout.strip()
    (clone / ".venv/done-venv").write_text(f"{clone} {version}\n")
    written.touch()
    return written


def install(
    clone: Path, *arguments: str, before: tuple[str, ...] = (), **environment: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*before, str(clone / "setup/install"), *arguments],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
    )


def steps(clone: Path, asked: Path) -> list[str]:
    """Run it, and tell what it did."""
    asked.write_text("")
    done = install(clone)
    assert done.returncode == 0, done.stderr
    lines = asked.read_text().splitlines()
    assert bool(lines) == bool(done.stderr), "it says what it does, and nothing where it does nothing"
    return ["locked" if "-r setup/lock.txt" in line else "project" for line in lines]


def one_line(done: "subprocess.CompletedProcess[str]", code: int) -> str:
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("setup: ") and done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_done_once_it_does_nothing(clone: Path, asked: Path) -> None:
    assert steps(clone, asked) == ["locked", "project"]
    assert steps(clone, asked) == []


def test_only_what_changed_is_done_again(clone: Path, asked: Path) -> None:
    steps(clone, asked)
    with (clone / "setup/lock.txt").open("a") as lock:
        lock.write("more==1\n")
    assert steps(clone, asked) == ["locked"]
    with (clone / "pyproject.toml").open("a") as project:
        project.write("\n")
    assert steps(clone, asked) == ["project"]
    with (clone / "setup/packages").open("a") as packages:
        packages.write("# nothing more\n")
    assert steps(clone, asked) == []
    room = clone / "room"
    room.mkdir()
    (room / "__init__.py").touch()
    assert steps(clone, asked) == ["project"], "a new room has to be found"


def test_what_broke_off_is_done_again(clone: Path, asked: Path) -> None:
    (clone / ".venv/bin/python").write_text("#!/bin/sh\necho 'ERROR: no route to anywhere'; exit 1\n")
    said = one_line_of_failure(install(clone))
    assert "no route to anywhere" in said and "type 'make setup' again" in said
    assert (clone / ".venv/half-made").exists(), "half a package looks whole: the next time begins anew"


def one_line_of_failure(done: "subprocess.CompletedProcess[str]") -> str:
    """The last line, behind those that say what was going on."""
    assert done.returncode == 1
    return done.stderr.splitlines()[-1]


def test_an_unknown_part_is_bad_input(clone: Path) -> None:
    assert "unknown part 'nonsense'" in one_line(install(clone, "nonsense"), 2)
    assert not (clone / ".setup").exists()


def without_packages(clone: Path) -> str:
    """A PATH in which nothing is installed, and apt has no network."""
    tools = clone / "tools"
    tools.mkdir()
    (tools / "dpkg-query").write_text("#!/bin/sh\n")
    (tools / "apt-get").write_text("#!/bin/sh\necho 'E: could not resolve anything'; exit 100\n")
    for tool in tools.iterdir():
        tool.chmod(0o755)
    return f"{tools}:{os.environ['PATH']}"


def test_without_root_it_says_what_is_missing_and_what_to_type(clone: Path) -> None:
    clone.chmod(0o777)
    said = one_line(install(clone, before=NOBODY, PATH=without_packages(clone)), 1)
    assert "python3-bpfcc" in said
    assert "type 'sudo setup/install packages'" in said


def test_what_root_has_set_up_serves_others(clone: Path, asked: Path) -> None:
    steps(clone, asked)
    done = install(clone, before=NOBODY)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_roots_part_leaves_nothing_in_a_users_clone(clone: Path) -> None:
    done = install(clone, "packages")
    assert (done.returncode, done.stderr) == (0, "")
    assert not (clone / ".setup").exists()


def test_in_a_folder_of_somebody_else_it_says_so(clone: Path) -> None:
    assert "work on a clone of your own" in one_line(install(clone, before=NOBODY), 1)


def test_without_network_it_says_so(clone: Path) -> None:
    done = install(clone, PATH=without_packages(clone))
    assert "could not resolve anything" in one_line_of_failure(done)
    assert "is the network there?" in done.stderr


def test_on_another_distribution_it_says_what_to_install(clone: Path) -> None:
    """Without apt and without bcc, in a mount namespace of its own."""
    tools = clone / "tools"
    tools.mkdir()
    for name in ("bash", "env", "readlink", "dirname", "uname", "mkdir", "flock", "cat", "grep"):
        (tools / name).symlink_to(shutil.which(name) or name)
    bcc = subprocess.run(
        [PYTHON, "-c", "import bcc, pathlib; print(pathlib.Path(bcc.__file__).parent)"],
        capture_output=True,
        text=True,
    ).stdout.strip()
    script = f'mount -t tmpfs none {bcc} && PATH={tools} exec "$@"'
    done = install(clone, before=("unshare", "--mount", "sh", "-c", script, "sh"))
    assert "no apt-get here: install Python's venv, bcc for /usr/bin/python3" in one_line(done, 1)


@pytest.mark.parametrize("goal", ["help", ""])
def test_make_alone_lists_the_goals(goal: str) -> None:
    done = subprocess.run(["make", *filter(None, [goal])], cwd=ROOT, capture_output=True, text=True)
    assert {line.split()[0] for line in done.stdout.splitlines()} >= {"setup", "test", "test-long"}
