"""The command: what it says, what it says when something is wrong, how it ends."""

import os
import signal
import subprocess
import sys

import pytest
import typer

import steering.cli
from bench.cli import run
from steering.errors import BadInput, OversprayError, unknown

HEAVY = {"bcc", "cffi", "mypy", "numpy", "pyroute2", "scapy"}
MAIN = "import sys; from bench.cli import main; main()"


def python(code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)


class Failing:
    error: BaseException

    @staticmethod
    def command() -> None:
        """Fail."""
        raise Failing.error


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> type[Failing]:
    """A sub-command ``fail`` that raises what the test puts into ``Failing.error``."""
    monkeypatch.setattr(steering.cli, "register", lambda app: app.command("fail")(Failing.command))
    return Failing


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in ("doctor", "lab", "wire"))


def test_nothing_typed_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    assert "Usage: overspray" in capsys.readouterr().out


@pytest.mark.parametrize("argument", ["--help", "--version", "lab", "wire", "policy", "doctor --help"])
def test_what_only_prints_imports_nothing_heavy(argument: str) -> None:
    """That is what makes it quick; a time would be a matter of the machine."""
    code = f"import sys, bench.cli; bench.cli.run({argument.split()}); print(*sys.modules, file=sys.stderr)"
    loaded = set(python(code).stderr.split())
    assert "bench.cli" in loaded
    assert not loaded & HEAVY


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("overspray 0.")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("nonsense", "nonsense"),
        ("doctor --nonsense", "--nonsense"),
        ("lab nonsense", "nonsense"),
        ("lab up --case nonsense", "choose from docker, flannel, linux, native"),
        ("lab up --containers 2", "case 'native' has no containers"),
        ("lab up --case docker --containers 81", "1 to 80"),
        ("lab up --case docker --ip 5", "IP version 5: choose 4 or 6"),
        ("lab up --case docker --outer-ip 7", "outer IP version 7: choose 4 or 6"),
        ("lab up --outer-ip 6", "case 'native' has no tunnel"),
        ("ab docker/none native/none --ip 5", "IP version 5: choose 4 or 6"),
        ("ab docker/none native/none --outer-ip six", "--outer-ip"),
        ("ab docker/none native/none --ip 6 --mtu 1279", "choose from 1280"),
        ("ab docker/none native/none --outer-ip 6 --mtu 1179", "choose from 1180"),
        ("ab --on x rps backlog", "live overlay 'rps': choose from adaptive, backlog"),
        ("ab --on x none:netfilter=1 backlog", "stock steering is left as it is on a live"),
        ("ab --on x flannel/none backlog", "'flannel/none' names a case, and a live overlay is one"),
        ("ab --on x none backlog+slow", "unknown coalescing 'slow'"),
        ("ab --on x none backlog --sink count", "leave --sink out"),
        ("ab --on x none backlog --rate full", "leave --rate out"),
        ("ab --on x none backlog --outer-ip 4", "leave --outer-ip out"),
        ("ab --on x none backlog --rounds 0", "choose 1 or more rounds"),
        ("ab none backlog --vni 7", "--vni is for a live overlay: name its NIC by --on"),
        ("wire bench --payload 17", "18 to 3350"),
        ("wire bench --payload 3351", "18 to 3350"),
        ("wire bench --payload much", "--payload"),
        ("wire bench --flows 0", "1 to 4096"),
        ("wire bench --flows 4097", "1 to 4096"),
        ("wire bench --batch 0", "1 to 256"),
        ("wire bench --batch 257", "1 to 256"),
        ("wire bench --frames 0", "frames"),
        ("wire bench --rounds 0", "rounds"),
        ("wire bench --core 4096", "core 4096"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments.split()) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert named in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OversprayError("it broke"), 1),
        (BadInput("it is\nwrong"), 2),
        (KeyboardInterrupt(), 130),
        (typer.Exit(7), 7),
    ],
)
def test_exit_codes(error: BaseException, code: int, failing: type[Failing]) -> None:
    failing.error = error
    assert run(["fail"]) == code


def test_an_error_is_one_line_on_stderr(failing: type[Failing], capsys: pytest.CaptureFixture[str]) -> None:
    failing.error = BadInput("it is\nwrong")
    run(["fail"])
    assert capsys.readouterr() == ("", "overspray: it is wrong\n")


def test_a_bug_keeps_its_traceback(failing: type[Failing]) -> None:
    failing.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        run(["fail"])


def test_unknown_names_what_is_allowed() -> None:
    assert str(unknown("case", "x", ["b", "a"])) == "unknown case 'x': choose from a, b"


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_a_closed_pipe_is_no_traceback(argument: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    line = [sys.executable, "-c", MAIN, argument]
    done = subprocess.run(line, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert done.returncode == 128 + signal.SIGPIPE
    assert done.stderr == ""


@pytest.mark.parametrize("redirection", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_traceback(redirection: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"$@" {redirection}', "sh", sys.executable, "-c", MAIN, "--version"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


def test_a_full_disk_is_one_line() -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        line = [sys.executable, "-c", MAIN, "--version"]
        done = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr == "overspray: No space left on device: type 'overspray doctor'\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_ends_it_unwinds(number: signal.Signals) -> None:
    code = (
        "import os, signal, bench.cli, steering.cli\n"
        "def command():\n"
        f"    try: os.kill(os.getpid(), {int(number)})\n"
        "    finally: print('put back', flush=True)\n"
        "steering.cli.register = lambda app: app.command('end')(command)\n"
        "bench.cli.main()\n"
    )
    done = python(code, "end")
    assert (done.returncode, done.stdout) == (128 + number, "put back\n")
    assert done.stderr == f"overspray: ended by {number.name}\n"
