"""``overspray attach``: put the fast path in front of an overlay that is there already."""

import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated

import typer

from steering.errors import BadInput, OversprayError

if TYPE_CHECKING:
    from steering.controller import Controller
    from steering.plan import Plan

_FILES = 1 << 16
_Netns = Annotated[
    str | None,
    typer.Option("--netns", help="The device's network namespace: name, path or process id."),
]


def register(app: typer.Typer) -> None:
    """Add ``attach``."""
    app.command()(attach)


def attach(
    device: Annotated[str, typer.Argument(help="The NIC that the tunnel's packets come in on.")],
    cpus: Annotated[str, typer.Option("--cpus", help="Cores of the workers, such as 0,2-5.")],
    policy: Annotated[str, typer.Option("--policy", help="NAME[:KNOB=VALUE,…].")] = "adaptive",
    ns: _Netns = None,
    deliver: Annotated[
        str | None,
        typer.Option("--deliver", help="Into containers by: peer (UDP and TCP) or veth."),
    ] = None,
    bypass: Annotated[
        bool, typer.Option("--bypass", help="Attach though rules would be skipped.")
    ] = False,
    detached: Annotated[
        bool, typer.Option("--detached", help="Return once attached, and stay in the background.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what is served as one JSON object.")
    ] = False,
) -> None:
    """Attach a policy to a NIC, serve the containers behind it, and follow them.

    Ends with ^C, SIGTERM or 'overspray detach'. Whatever was changed is put back then, and by
    'overspray status' or any other command after a kill.
    """
    from steering.capabilities import ATTACHING, require
    from steering.control import Address, read_namespace
    from steering.preflight import require_state

    require("attaching", *ATTACHING)
    require_state("attaching")
    where = read_namespace(ns)
    log = Address.of(where, device).log
    let_go: Callable[[], None] | None = None
    if detached:
        from steering.daemon import detached as fork

        outcome = fork()
        if isinstance(outcome, int):
            raise typer.Exit(outcome)
        let_go = outcome
    from steering.controller import Wish, run
    from steering.preflight import require_host
    from steering.undo import recover

    wish = Wish(device, where, _plan(policy, cpus, deliver), bypass)
    with _Lines() as lines:

        def attached(controller: "Controller") -> None:
            _show(controller, as_json)
            if let_go is not None:
                lines.to_file(log)
                let_go()

        _allow_many_files()
        recover()
        require_host()
        run(wish, attached, _end_by_signals)
    if detached:
        log.unlink(missing_ok=True)  # it is of use only where something went wrong


def _end_by_signals(controller: "Controller") -> None:
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, lambda number, _: controller.stop(signal.Signals(number).name))


def _plan(policy: str, cpus: str, deliver: str | None) -> "Plan":
    from steering.control import read_policy
    from steering.plan import read_cores, read_plan
    from steering.spec import Spec

    spec = read_policy(policy)
    for key, option in (("mask", "--cpus"), ("deliver", "--deliver")):
        if key in spec.args:
            raise BadInput(f"'{key}' in '{policy}': here it is the option {option}")
    args = {**spec.args, "deliver": deliver} if deliver is not None else spec.args
    return read_plan(Spec(spec.name, args), read_cores(cpus))


def _allow_many_files() -> None:
    """A followed namespace takes two files, and a host may have hundreds of containers."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


class _Lines:
    """Where the controller's lines go: to stderr, later to a file. A context manager.

    stderr is opened once more, for the compiler's words are caught on the one there is.
    """

    def __init__(self) -> None:
        self._logger = logging.getLogger("steering")

    def __enter__(self) -> "_Lines":
        self._logger.setLevel(logging.INFO)
        self._use(logging.StreamHandler(os.fdopen(os.dup(2), "w")), "%(message)s")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if error is not None and isinstance(self._handler, logging.FileHandler):
            self._logger.error("ended: %s", error, exc_info=not isinstance(error, OversprayError))
        self._drop()

    def to_file(self, path: Path) -> None:
        """From now on write there, at most 2 MiB."""
        from logging.handlers import RotatingFileHandler

        path.unlink(missing_ok=True)
        self._drop()
        file = RotatingFileHandler(path, maxBytes=1 << 20, backupCount=1)
        self._use(file, "%(asctime)s %(message)s")

    def _drop(self) -> None:
        self._handler.close()
        self._logger.removeHandler(self._handler)

    def _use(self, handler: logging.Handler, form: str) -> None:
        self._handler = handler
        handler.setFormatter(logging.Formatter(form))
        self._logger.addHandler(handler)


def _show(controller: "Controller", as_json: bool) -> None:
    """What is attached, what it serves, what it skips."""
    status = controller.status()
    if as_json:
        import json

        print(json.dumps(status, indent=2), flush=True)
        return
    from steering.status_text import overview

    for line in overview(str(controller.address), status):
        print(line)
    sys.stdout.flush()
