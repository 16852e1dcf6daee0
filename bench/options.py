"""Options that several commands of the bench have, and what they make of them."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steering.errors import BadInput

if TYPE_CHECKING:
    from bench.experiment import Placement, Point
    from bench.runner import Note
    from bench.variant import Variant

Traffic = Annotated[
    str,
    typer.Option(
        help="udp: the wire's stamped datagrams; tcp[:timestamps=0,first=N,lost=PPM,doubled=PPM,"
        "overtaken=PPM]: its streams; iperf3[:lost=PPM]: the real client."
    ),
]
Payload = Annotated[
    int, typer.Option(help="Payload of a packet, bytes (18 to what the MTU takes).")
]
Flows = Annotated[int, typer.Option(help="Flows, sent in turn; flow i goes to container i.")]
SinkText = Annotated[
    str,
    typer.Option(
        help="udp: count, read[:core=N,bulk=N], or @PATH of a program of your own; "
        "tcp: read[:core=N,check=1], trunc[:core=N]; iperf3: server[:core=N]. [default: the first]"
    ),
]
Rate = Annotated[str, typer.Option(help="Packets a second, or max, best, search.")]
Arrivals = Annotated[
    str, typer.Option(help="constant, poisson or bursts[:batch=N,us=N,frames=N,train=N,burst=N].")
]
Neighbour = Annotated[
    str,
    typer.Option(
        help="Who else is at work, on core 1 unless said otherwise: none, spin[:core=N], "
        "chase or stream[:core=N,kib=N]."
    ),
]
Containers = Annotated[int, typer.Option(help="Containers of the lab (1 to 80).")]
Mtu = Annotated[int, typer.Option(help="MTU of the NIC, bytes.")]
Outer = Annotated[int, typer.Option(help="IP version outside the tunnel: 4 or 6.")]
Inner = Annotated[int, typer.Option(help="IP version inside: 4 or 6.")]
NicCore = Annotated[int, typer.Option(help="Core of the NIC (and the wire).")]
Workers = Annotated[
    str, typer.Option(help="Cores of the workers, such as 1,3-5; none: all but the NIC's.")
]
App = Annotated[int | None, typer.Option(help="Core of the application; none: the last worker.")]
Quick = Annotated[
    bool,
    typer.Option("--quick", help="A short form, under five minutes: for trying, not for keeps."),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="List what it would do and how long; change nothing.")
]
Resume = Annotated[Path | None, typer.Option(metavar="DIR", help="Go on with what was broken off.")]
Out = Annotated[Path, typer.Option(help="Where the directory of results is made.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
LabName = Annotated[str, typer.Option("--lab", help="Name of the lab to make and use.")]


@dataclass(frozen=True)
class Cores:
    """Where things run, as it was written."""

    nic: int
    workers: str
    app: int | None

    def placement(self) -> "Placement":
        """BadInput for a core that does not exist."""
        from bench.experiment import Placement

        online = sorted(os.sched_getaffinity(0))
        written = Placement(nic=self.nic, workers=tuple(cores(self.workers)), app=self.app)
        return written.on(online)


def cores(text: str) -> list[int]:
    """The cores in a list such as ``0,2-5``.

    Raises:
        BadInput: it is no such list.
    """
    found: list[int] = []
    for part in filter(None, text.split(",")):
        first, dash, last = part.partition("-")
        try:
            low, high = int(first), int(last if dash else first)
        except ValueError:
            raise BadInput(f"'{text}' is no list of cores: write it as 0,2-5") from None
        if not 0 <= low <= high < 4096:
            raise BadInput(f"'{part}' is no range of cores: write it as 2-5")
        found += range(low, high + 1)
    return found


def point(
    variants: "tuple[Variant, ...]",
    traffic: str,
    payload: int,
    flows: int,
    rate: str,
    arrivals: str,
    sink: str,
    neighbour: str = "none",
) -> "Point":
    """The point that options describe, checked; BadInput says what is wrong."""
    from bench.experiment import RATES, Point
    from bench.neighbour import check as check_neighbour
    from bench.sinks import SINKS, check
    from bench.traffic import Traffic as Sent
    from steering.spec import Spec

    if rate not in RATES and not rate.isdecimal():
        raise BadInput(f"rate '{rate}': choose packets a second or one of {', '.join(RATES)}")
    number = int(rate) if rate.isdecimal() else rate
    kind = Spec.parse(traffic)
    fixed = number if isinstance(number, int) else None
    sent = Sent(payload, flows, fixed, Spec.parse(arrivals), kind=kind)
    chosen = Spec.parse(sink or next(iter(SINKS[sent.protocol])))
    check(chosen, sent.protocol)
    beside = Spec.parse(neighbour)
    check_neighbour(beside)
    return Point(kind, payload, flows, number, sent.arrivals, chosen, variants, beside)


@contextmanager
def told(title: str, total: int | None) -> "Iterator[tuple[Note, Callable[[], None]]]":
    """Progress on stderr: a function that is told what is being done, and one for a step done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=total)
        yield (
            lambda text: progress.update(task, description=text[:72]),
            lambda: progress.advance(task),
        )
