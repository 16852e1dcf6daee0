"""What a run of streams tells beside its rate: order, acknowledgements, what was sent again."""

from collections.abc import Iterator, Mapping

from bench.losses import Drops
from bench.sinks import Received
from bench.traffic import Traffic
from bench.wire import Offered

_WIRE = (
    "resent",
    "cwnd",
    "spurious",
    "reorderings",
    "rewound",
    "probes",
    "lost",
    "doubled",
    "overtaken",
    "acks",
    "duplicates",
    "sacks",
    "dsacks",
)


def facts(
    wire: Mapping[str, int],
    after_gro: Mapping[str, int],
    seen: Mapping[str, int],
    back: Mapping[str, int],
    events: Mapping[str, int],
) -> dict[str, int]:
    """The wire's counters (enum wire_counter), those of order behind GRO on the NIC (enum
    order_counter, ``gro_…``; of ours only), of the sink (enum tcp_sink_counter), of the way back
    (enum back_counter, ``back_…``), and the kernel's of the receivers' TCP
    (:data:`bench.losses.TCP_EVENTS`); empty of datagrams.
    """
    if not seen:
        return {}
    ours = {f"gro_{name}": count for name, count in after_gro.items()}
    ours |= {f"back_{name}": count for name, count in back.items()}
    return {name: wire[name] for name in _WIRE if name in wire} | dict(seen) | ours | dict(events)


def gathered(seen: Mapping[str, int]) -> dict[str, float]:
    """``tcp``: segments in a packet as TCP gets it."""
    packets = seen.get("packets", 0)  # a real server does not say
    return {"tcp": seen["segments"] / packets} if packets else {}


def count_again(drops: Drops, missing: int) -> None:
    """Name what was sent, and not lost, and yet not delivered: it had been delivered before.

    The wire counts frames, the sink what of the stream was read.
    """
    lost = sum(sum(names.values()) for names in drops.values())
    if missing > lost:
        drops["tcp"] = {"sent_again": missing - lost}


def broken(offered: Offered, received: Received, traffic: Traffic) -> Iterator[str]:
    """What no run of streams may show."""
    if traffic.protocol == "udp":
        return
    if not offered.whole:
        yield "the receiver did not acknowledge all of the stream"
    if received.foreign:
        yield f"{received.foreign} bytes of the stream are not those that were sent"
