"""What came of a run of the model, in the words of the bench's record of a run."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prototype import model_state as state
from prototype.model_load import Load
from prototype.model_path import Setup
from prototype.model_queues import start_of_bin
from prototype.order import measure

Array = NDArray[Any]


@dataclass(frozen=True)
class Outcome:
    """What came of it; names and units as in the bench's record of a run (``bench/sample.py``)."""

    variant: str
    seed: int
    seconds: float
    asked: float | None
    offered: int
    delivered: int
    in_time: int
    """Packets delivered in the measured time; `delivered` are those sent in it."""
    payload: int
    drops: dict[str, dict[str, int]]
    order: dict[str, float]
    latency: dict[str, float]
    cores: dict[int, dict[str, float]]
    per_packet: dict[str, float]
    gathered: dict[str, float]
    memory_bps: float
    """Bytes a second through the memory."""
    refused: int
    """Slots that do not exist: the packets took the stock path."""
    events: int
    source: str = "twin"
    trace: Array = field(default_factory=lambda: np.zeros(0, state.TRACE), compare=False)
    """First units of work, if asked for."""

    @property
    def rate_pps(self) -> float:
        """Packets delivered a second."""
        return self.in_time / self.seconds

    @property
    def goodput_bps(self) -> float:
        """Payload bits delivered a second."""
        return self.rate_pps * self.payload * 8

    @property
    def loss(self) -> float:
        """Share of the offered packets that was not delivered."""
        return 1 - self.delivered / self.offered if self.offered else 0.0

    @property
    def unaccounted(self) -> int:
        """Neither delivered nor dropped under a name: always 0."""
        dropped = sum(sum(stage.values()) for stage in self.drops.values())
        return self.offered - self.delivered - dropped

    @property
    def busy_cores(self) -> float:
        """Core time used, in cores; not the lab wire's."""
        shares = (core.items() for core in self.cores.values())
        return sum(share for core in shares for kind, share in core if kind != "wire")

    @property
    def other_cores(self) -> float:
        """The same without core 0, the NIC's."""
        return self.busy_cores - sum(
            share for kind, share in self.cores.get(0, {}).items() if kind != "wire"
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON: the fields, and what follows from them."""
        plain = {each.name: getattr(self, each.name) for each in fields(self)}
        del plain["trace"]
        derived = ("rate_pps", "goodput_bps", "loss", "unaccounted", "busy_cores")
        return plain | {name: getattr(self, name) for name in derived}


def read(setup: Setup, load: Load, s: state.State) -> Outcome:
    """What a run's arrays say when it is over."""
    w = s.world[0]
    delivered = int(w["delivered"])
    drops: dict[str, dict[str, int]] = {}
    for (stage, name), count in zip(state.DROPS, s.drops.tolist(), strict=True):
        if count:
            drops.setdefault(stage, {})[name] = count
    each = ("softirqs", "polls", "bulks", "wakeups", "switches", "preemptions", "irqs", "ipis")
    total = max(1, int(s.latency.sum()))
    received = max(1, int(w["received"]))
    shares = s.busy / (load.seconds * 1e9)
    return Outcome(
        variant=str(setup),
        seed=load.seed,
        seconds=load.seconds,
        asked=load.rate,
        offered=int(w["offered"]),
        delivered=delivered,
        in_time=int(w["in_time"]),
        payload=load.payload,
        drops=drops,
        order=_order(s, total),
        latency={name: _quantile(s.latency, q) for name, q in _PERCENTILES.items()}
        | {"mean": _mean(s.latency)},
        cores={
            core: {
                kind: float(share)
                for kind, share in zip(state.KINDS, row, strict=True)
                if kind and share
            }
            for core, row in enumerate(shares)
        },
        per_packet={name: int(w[name]) / received for name in each},
        gathered={
            "poll": int(w["polled"]) / max(1, int(w["polls"])),
            "bulk": int(w["bulked"]) / max(1, int(w["bulks"])),
            "skb": int(w["gathered"]) / max(1, int(w["skbs"])),
        },
        memory_bps=float(w["moved_bytes"]) / load.seconds,
        refused=int(w["refused"]),
        events=int(w["events"]),
        trace=s.trace[: int(w["traced"])],
    )


_PERCENTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}


def _quantile(histogram: Array, q: float) -> float:
    """Middle of the bin that holds the quantile, ns; 0 of nothing."""
    below = np.cumsum(histogram)
    if not below[-1]:
        return 0.0
    place = int(np.searchsorted(below, max(1, np.ceil(q * below[-1]))))
    return start_of_bin(place + 0.5)


def _order(s: state.State, total: int) -> dict[str, float]:
    """Order of the logged deliveries, flow by flow; the reordered share is that of all packets."""
    w = s.world[0]
    log = s.log[: int(w["logged"])]
    flows = [measure(log[log[:, 0] == flow, 1]) for flow in np.unique(log[:, 0])]
    if not flows:
        return {}
    summary = asdict(sum(flows[1:], flows[0]).summary())
    return {name: float(value) for name, value in summary.items()} | {
        "reordered": int(w["reordered"]) / total
    }


def _mean(histogram: Array) -> float:
    """Of the bins' middles, ns; 0 of nothing."""
    middles = [start_of_bin(place + 0.5) for place in range(len(histogram))]
    return float(np.dot(histogram, middles) / max(1, int(histogram.sum())))
