"""The command: how it joins its parts, what it says when something is wrong, how it ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import bench.cli
import steering.cli
from bench.cli import run
from steering.commands import join
from steering.errors import BadInput, OversprayError

HEAVY = {"bcc", "numba", "scipy", "matplotlib", "scapy", "pyroute2", "pydantic", "numpy"}
MAIN = "import sys; from bench.cli import main; main()"


def python(code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> "type[Failing]":
    """A sub-command ``fail`` that raises what the test puts into ``Failing.error``."""
    monkeypatch.setattr(steering.cli, "register", lambda app: app.command("fail")(Failing.command))
    return Failing


class Failing:
    error: BaseException

    @staticmethod
    def command() -> None:
        """Fail."""
        raise Failing.error


def test_help_lists_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    assert "doctor" in capsys.readouterr().out


def test_nothing_typed_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    assert "Usage: overspray" in capsys.readouterr().out


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, bench.cli; bench.cli.run(['--help']); print(*sys.modules, file=sys.stderr)"
    loaded = set(python(code).stderr.split())
    assert "bench.cli" in loaded
    assert not loaded & HEAVY


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("overspray 0.")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(["nonsense"], "nonsense"), (["doctor", "--nonsense"], "--nonsense")],
)
def test_bad_usage_is_one_line(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    said = capsys.readouterr()
    assert not said.out
    assert named in said.err
    assert "--help" in said.err
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


def test_an_error_is_one_line_on_stderr(
    failing: type[Failing], capsys: pytest.CaptureFixture[str]
) -> None:
    failing.error = BadInput("it is\nwrong")
    run(["fail"])
    assert capsys.readouterr() == ("", "overspray: it is wrong\n")


def test_a_bug_keeps_its_traceback(failing: type[Failing]) -> None:
    failing.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        run(["fail"])


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_a_closed_pipe_is_no_traceback(argument: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", MAIN, argument]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert done.returncode in (1, 128 + signal.SIGPIPE)  # rich leaves with 1
    assert done.stderr == ""


def test_sigterm_unwinds() -> None:
    code = (
        "import os, signal, sys, bench.cli\n"
        "def command(_):\n"
        "    try: os.kill(os.getpid(), signal.SIGTERM)\n"
        "    finally: print('put back', flush=True)\n"
        "bench.cli.run = lambda: command(None)\n"
        "bench.cli.main()\n"
    )
    done = python(code)
    assert done.stdout == "put back\n"
    assert done.returncode == 128 + signal.SIGTERM


def test_a_module_joins_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "joinable"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "other.py").write_text("raise RuntimeError('not to be imported')")
    (package / "cli_greet.py").write_text(
        "def register(app): app.command()(greet)\ndef greet():\n    print('hello')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    app = bench.cli.build()
    join(app, "joinable")
    assert "greet" in typer.main.get_command(app).list_commands(None)  # type: ignore[attr-defined]
