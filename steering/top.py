"""What two samples of an attached datapath say of the time between them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

Sampled = Mapping[str, Any]
"""What :func:`steering.sampled.sample` returns."""


@dataclass(frozen=True)
class CoreRates:
    """One core, over one interval; None where there was nothing to divide by."""

    core: int
    role: str
    """``nic``, ``worker N`` (its slot), or both."""
    arrived: float
    """Frames a second that came in on the NIC on this core."""
    packets: float
    """Packets a second that this core took through the stack: kept as NIC core, taken as worker."""
    share: float
    """Of all packets, 0 to 1."""
    queue: int | None
    """Packets that wait for this worker now."""
    lost: float
    """Packets a second that its queue had no room for."""
    bulk: float | None
    """Packets to one go of the worker's thread."""
    merge: float | None
    """Packets to one skb, after GRO (delivery ``peer``)."""
    moved: float | None
    """Of a thousand deliveries those on another core than the one before of their flow."""
    back: float | None
    """Of a thousand deliveries TCP segments that start before one that was seen already."""


@dataclass(frozen=True)
class Rates:
    """One interval; events a second by name where nothing else is said."""

    policy: str
    seconds: float
    cores: list[CoreRates]
    reasons: dict[str, float] = field(default_factory=dict)
    """Passed to the stock path, refused, dropped: what occurred."""
    counters: dict[str, float] = field(default_factory=dict)
    """The policy's own."""
    meanings: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def rates(before: Sampled, now: Sampled) -> Rates | None:
    """The interval between two samples; None when the policy was swapped meanwhile."""
    seconds = now["time"] - before["time"]
    if before["unit"] != now["unit"] or seconds <= 0:
        return None
    earlier = {core["core"]: core for core in before["cores"]}
    grown = [_grown(earlier.get(core["core"]), core) for core in now["cores"]]
    packets = [_packets(core) for core in grown]
    total = sum(packets)
    return Rates(
        policy=now["policy"],
        seconds=seconds,
        cores=[
            _core(core, live, count, total, seconds, now["merged"])
            for core, live, count in zip(grown, now["cores"], packets, strict=True)
        ],
        reasons=_reasons(grown, seconds),
        counters=_summed((core["policy"] for core in grown), seconds),
        meanings=now["meanings"],
    )


def _grown(before: Sampled | None, now: Sampled) -> dict[str, Any]:
    """Differences of all counts of one core."""
    found: dict[str, Any] = {"core": now["core"]}
    for part in ("steer", "peer", "order", "policy", "worker"):
        old = (before or {}).get(part) or {}
        new = now[part] or {}
        # An observer that has just begun has counted nothing before.
        found[part] = {name: max(0, count - old.get(name, 0)) for name, count in new.items()}
    return found


def _packets(core: Mapping[str, Any]) -> int:
    return int(core["steer"]["local"] + core["worker"].get("done", 0))


def _core(
    core: Mapping[str, Any],
    live: Sampled,
    packets: int,
    total: int,
    seconds: float,
    merged: bool,
) -> CoreRates:
    worker, order, peer = core["worker"], core["order"], core["peer"]
    row = live["worker"]
    roles = ["nic"] if live["steer"]["seen"] else []
    roles += [f"worker {row['slot']}"] if row else []
    return CoreRates(
        core=core["core"],
        role=", ".join(roles),
        arrived=core["steer"]["seen"] / seconds,
        packets=packets / seconds,
        share=packets / total if total else 0.0,
        queue=max(0, row["sent"] - row["lost"] - row["done"]) if row else None,
        lost=worker.get("lost", 0) / seconds,
        bulk=_ratio(worker.get("done", 0), worker.get("batches", 0)),
        merge=_ratio(peer["segments"], peer["delivered"]) if merged else None,
        moved=_ratio(1000 * order.get("moved", 0), order.get("seen", 0)),
        back=_ratio(1000 * order.get("back", 0), order.get("seen", 0)),
    )


def _reasons(cores: list[dict[str, Any]], seconds: float) -> dict[str, float]:
    """``pass_…``, ``refused_…``, ``drop_…`` of the NIC stage, and full queues."""
    steer = (
        {n: c for n, c in core["steer"].items() if n.startswith(("pass_", "refused_", "drop_"))}
        for core in cores
    )
    found = _summed(steer, seconds)
    lost = sum(core["worker"].get("lost", 0) for core in cores) / seconds
    return {name: rate for name, rate in {**found, "worker_queue_full": lost}.items() if rate}


def _summed(parts: Any, seconds: float) -> dict[str, float]:
    found: dict[str, float] = {}
    for part in parts:
        for name, count in part.items():
            found[name] = found.get(name, 0.0) + count / seconds
    return found


def _ratio(many: float, few: float) -> float | None:
    return many / few if few else None
