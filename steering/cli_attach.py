"""``overspray attach``: a policy on an overlay that is already there, until one is told to end."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

DEFAULT = "backlog"


def register(app: typer.Typer) -> None:
    """Add ``attach``."""
    app.command()(attach)


def attach(
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="The NIC through which overlays come.")],
    policy: Annotated[str, typer.Option(help="POLICY[:KNOB=VALUE,…], or @FOLDER of one's own.")] = DEFAULT,
    cpus: Annotated[str, typer.Option(help="The workers' cores, such as 1-3,6; all but the first.")] = "",
    vni: Annotated[int | None, typer.Option(help="That overlay alone; all that come through it.")] = None,
    bypass: Annotated[
        bool, typer.Option("--bypass", help="Go past rules of bridge and tunnel, where there are some.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what was counted as one JSON object.")
    ] = False,
) -> None:
    """Spread live overlays' packets over the cores, until ^C or SIGTERM; then all is as it was.

    VNI, VTEPs, bridge and containers are discovered, and followed as they come and go. Everything that can't
    be proven to be for one of these containers takes the stock path. Prints what was counted in the end.
    """
    from steering import cores, doctor, plan
    from steering.attach import Attachment
    from steering.errors import BadInput
    from steering.spec import Spec

    def say(text: str) -> None:
        typer.echo(text, err=True)

    doctor.require("capabilities", "BPF", "cpumap programs", "tc links")
    spec = Spec.parse(policy)
    if cpus:
        if "mask" in spec.args:
            raise BadInput("--cpus and mask= both name the workers' cores: choose one")
        mask = f"{sum(1 << core for core in cores.parse(cpus)):x}"
        spec = Spec(spec.name, {**spec.args, "mask": mask})
    planned = plan.read(spec, cores.usable()[0])
    with _told_to_end() as stop, Attachment(device, planned, vni, bypass) as attached:
        say(f"attached {spec} to '{device}', workers on cores {cores.form(sorted(planned.workers))}")
        for line in attached.lines():
            say(line)
        try:
            attached.follow(stop, say)
        finally:
            counted = attached.datapath.totals()
    if as_json:
        import json

        print(json.dumps(_as_dict(counted), indent=2))
        return
    print(
        f"{counted.steer['seen']} frames: {counted.delivered} delivered, {counted.passed} took the stock path"
    )
    for core, count in counted.local.items():
        if count:
            print(f"  core {core}: {count} on which they came")
    for core, count in counted.done.items():
        print(f"  core {core}: {count} as a worker")
    for stage, names in counted.drops.items():
        for name, count in names.items():
            print(f"  lost: {stage} {name} {count}")


def _as_dict(counted: object) -> dict[str, object]:
    from dataclasses import asdict

    from steering.unit import Totals

    assert isinstance(counted, Totals)
    return {
        **asdict(counted),
        "delivered": counted.delivered,
        "passed": counted.passed,
        "drops": counted.drops,
    }


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
