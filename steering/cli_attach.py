"""``overspray attach``: a policy on an overlay that is already there, until one is told to end."""

import os
import signal
import syslog
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from steering.errors import BadInput

if TYPE_CHECKING:
    from steering.choice import Choice

DEFAULT = "adaptive"


def register(app: typer.Typer) -> None:
    """Add ``attach``."""
    app.command()(attach)


def attach(
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="The NIC through which overlays come.")],
    policy: Annotated[
        str, typer.Option(help="POLICY[:KNOB=VALUE,…][+COALESCING…]; @FOLDER: one's own.")
    ] = DEFAULT,
    cpus: Annotated[str, typer.Option(help="The workers' cores, such as 1-3,6; all but the first.")] = "",
    vni: Annotated[int | None, typer.Option(help="That overlay alone; all that come through it.")] = None,
    bypass: Annotated[
        bool, typer.Option("--bypass", help="Go past rules of bridge and tunnel, where there are some.")
    ] = False,
    generic: Annotated[
        bool, typer.Option("--generic", help="By generic XDP: slow, but any device has it.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Take another's XDP program off the NIC meanwhile.")
    ] = False,
    detached: Annotated[
        bool, typer.Option("--detached", help="Return once it is attached; 'overspray detach' ends it.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what was counted as one JSON object.")
    ] = False,
) -> None:
    """Spread live overlays' packets over the cores, until ^C, SIGTERM or 'overspray detach'; then all is
    as it was.

    VNI, VTEPs, bridge and containers are discovered, and followed as they come and go. Everything that can't
    be proven to be for one of these containers takes the stock path. Prints what was counted in the end.
    """
    import json

    from steering import doctor
    from steering.attach import How
    from steering.controller import Controller
    from steering.status import totals_text

    choice = _choice(policy, cpus)
    if detached and as_json:
        raise BadInput("--json prints what was counted in the end: give it to 'overspray detach'")
    ready = None
    if detached:
        from steering.background import fork_away

        ready = fork_away()
    doctor.require("capabilities", "BPF", "cpumap programs", "tc links")
    say = _Say()
    with _told_to_end() as stop:
        with Controller(device, choice, How(vni, bypass, generic, force), say) as controller:
            if ready:
                say.to_syslog = True
                ready()
            controller.run(stop)
        counted = controller.counted()
    if as_json:
        print(json.dumps(counted, indent=2))
    else:
        print("\n".join(totals_text(counted)))


def _choice(policy: str, cpus: str) -> "Choice":
    """The policy with its workers; checked, before anything is done."""
    from steering import cores
    from steering.choice import Choice

    choice = Choice.parse(policy)
    if cpus:
        if "mask" in choice.policy.args:
            raise BadInput("--cpus and mask= both name the workers' cores: choose one")
        choice = choice.having({"mask": f"{sum(1 << core for core in cores.parse(cpus)):x}"})
    choice.plan()
    return choice


class _Say:
    """To the terminal; without one, to the system's log."""

    def __init__(self) -> None:
        self.to_syslog = False

    def __call__(self, line: str) -> None:
        if self.to_syslog:
            syslog.syslog(f"overspray: {line}")
        else:
            typer.echo(line, err=True)


@contextmanager
def _told_to_end() -> Iterator[int]:
    """A descriptor that can be read once this process is told to end, by ^C, SIGTERM or a closed terminal."""
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: None) for number in numbers}
    woken = signal.set_wakeup_fd(writing)
    try:
        yield reading
    finally:
        signal.set_wakeup_fd(woken)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reading)
        os.close(writing)
