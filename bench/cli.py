"""The ``overspray`` command: joins the packages' sub-commands and turns errors into one line."""

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Annotated

import typer

import steering.cli
from bench import (
    cli_ab,
    cli_bench,
    cli_best,
    cli_cost,
    cli_demo,
    cli_lab,
    cli_policy,
    cli_profile,
    cli_report,
    cli_wire,
)
from steering.errors import OversprayError

_INTERRUPTED = 128 + signal.SIGINT
_PIPE_CLOSED = 128 + signal.SIGPIPE


def build() -> typer.Typer:
    """The application with every package's sub-commands."""
    app = typer.Typer(
        help="Spread one container flow over every core, and measure what that gains.",
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    app.callback(invoke_without_command=True)(_root)
    steering.cli.register(app)
    cli_lab.register(app)
    cli_policy.register(app)
    cli_wire.register(app)
    cli_ab.register(app)
    cli_best.register(app)
    cli_cost.register(app)
    cli_profile.register(app)
    cli_demo.register(app)
    cli_bench.register(app)
    cli_report.register(app)
    return app


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; returns its exit code. Errors meant for a person become one line."""
    try:
        command = typer.main.get_command(build())
        result = command.main(
            args=None if arguments is None else list(arguments),
            prog_name="overspray",
            standalone_mode=False,
        )
        if result == _INTERRUPTED:  # typer has made it of ^C
            _complain("interrupted")
        sys.stdout.flush()
    except OversprayError as error:
        _complain(str(error))
        return error.exit_code
    except BrokenPipeError:
        _spare_stdout()
        return _PIPE_CLOSED
    except SystemExit as error:
        if not isinstance(error.__context__, BrokenPipeError):
            raise
        _spare_stdout()  # typer ends the process where the reader has left
        return _PIPE_CLOSED
    except OSError as error:  # no disk, no memory, no descriptors: the host's, not the program's
        _spare_stdout()
        place = f" '{error.filename}'" if error.filename else ""
        _complain(f"{error.strerror or error}{place}: type 'overspray doctor'")
        return OversprayError.exit_code
    except KeyboardInterrupt:
        _complain("interrupted")
        return _INTERRUPTED
    except _Ended as error:
        _complain(f"ended by {error.signal.name}")
        return 128 + error.signal
    except Exception as error:
        # Usage errors: their class is typer's own, and private.
        if not hasattr(error, "format_message"):
            raise
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "overspray"
        message = error.format_message().rstrip(".")
        if message:  # empty: a group without its command has printed its help
            _complain(f"{message}: type '{path} --help'")
        return 2
    return result if isinstance(result, int) else 0


def main() -> None:
    """Entry point. SIGTERM and SIGHUP unwind as exceptions do, so that what was changed is put back."""
    _open_standard_streams()
    signal.signal(signal.SIGTERM, _end)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup
        signal.signal(signal.SIGHUP, _end)
    sys.exit(run())


class _Ended(BaseException):
    """A signal that ends. Says nothing before all is unwound: stderr may be captured meanwhile."""

    def __init__(self, number: int) -> None:
        self.signal = signal.Signals(number)


def _end(number: int, _frame: FrameType | None) -> None:
    raise _Ended(number)


def _open_standard_streams() -> None:
    """Closed ones lead nowhere: or the first files opened would get their numbers, and what is printed."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w"))


def _spare_stdout() -> None:
    """Python flushes stdout once more at exit; where that can't be written to, give it a sink."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _complain(message: str) -> None:
    print(f"overspray: {' '.join(message.split())}", file=sys.stderr)


def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed

        print(f"overspray {installed('overspray')}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())
