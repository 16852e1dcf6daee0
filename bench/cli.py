"""The ``overspray`` command: joins the packages' sub-commands and turns errors into one line."""

import errno
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Annotated

import typer

import prototype.cli
import steering.cli
from steering.commands import join
from steering.errors import OversprayError

_INTERRUPTED = 128 + signal.SIGINT
_TERMINATED = 128 + signal.SIGTERM
_PIPE_CLOSED = 128 + signal.SIGPIPE


def build() -> typer.Typer:
    """The application with every package's sub-commands."""
    app = typer.Typer(
        help="Spread one container flow over every core, and measure what that gains.",
        no_args_is_help=False,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    app.callback(invoke_without_command=True)(_root)
    steering.cli.register(app)
    prototype.cli.register(app)
    join(app, "bench")
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
        if result == _INTERRUPTED:  # newer versions of typer make it of ^C themselves
            _complain("interrupted")
        sys.stdout.flush()
    except OversprayError as error:
        _complain(str(error))
        return error.exit_code
    except BrokenPipeError:
        # The reader left (`| head`). Python flushes stdout once more at exit: give it a sink.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _PIPE_CLOSED
    except KeyboardInterrupt:
        _complain("interrupted")
        return _INTERRUPTED
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _complain(f"{error.strerror}: make room; what was written before can be read")
        return OversprayError.exit_code
    except MemoryError:
        _complain("out of memory: what was changed is put back; give it more, and type it again")
        return OversprayError.exit_code
    except Exception as error:
        # Usage errors: the class is click's or typer's own, depending on typer's version.
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
    """Entry point. SIGTERM unwinds as an exception does, so that what was changed is put back."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(run())


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    _complain("ended by SIGTERM")
    sys.exit(_TERMINATED)


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
