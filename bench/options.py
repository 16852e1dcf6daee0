"""Options that several commands have, so that they are called and explained alike."""

from typing import Annotated

import typer

from bench.traffic import LARGEST, LARGEST_BATCH, LOWEST_RATE, MOST_FLOWS, SMALLEST
from steering.errors import BadInput

Payload = Annotated[int, typer.Option(help=f"Bytes a datagram, {SMALLEST} to {LARGEST}.")]
Flows = Annotated[int, typer.Option(help=f"Flows, sent in turn; 1 to {MOST_FLOWS}.")]
Batch = Annotated[int, typer.Option(help=f"Frames put on the wire at once, 1 to {LARGEST_BATCH}.")]
Mtu = Annotated[int, typer.Option(help="Of the containers' devices; the underlay's is 100 more.")]
Ip = Annotated[int, typer.Option(help="IP version of the packets: 4 or 6.")]
OuterIp = Annotated[int, typer.Option(help="IP version that a tunnel goes over: 4 or 6.")]
Core = Annotated[int | None, typer.Option(help="The NIC's core; if left out, the first.")]
Seed = Annotated[int, typer.Option(min=0, help="Decides the order within rounds, and the interval.")]
Rate = Annotated[str, typer.Option(help="Packets a second, or full: as fast as they go.")]
SinkText = Annotated[
    str,
    typer.Option(
        help="count: the path's ceiling; read[:core=N,batch=N]: an application of ours reads; "
        "iperf3[:core=N]; app:[core=N,]run=COMMAND: any other, with {address} and {port} in the command."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def rate_of(text: str, *others: str) -> int | None:
    """Packets a second; None: full. BadInput names the ``others`` that a command knows as well."""
    if text == "full":
        return None
    if not text.isdecimal() or int(text) < LOWEST_RATE:
        words = ", ".join(("full", *others))
        raise BadInput(f"rate '{text}': choose {words}, or packets a second, {LOWEST_RATE} or more")
    return int(text)
