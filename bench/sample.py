"""One measured run, as it is kept: raw counts in, rates and shares derived from them."""

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, computed_field, model_validator

SCHEMA: Final = 1
"""Grows with every change that makes older results incomparable (say so in CHANGELOG)."""

Source = Literal["veth", "twin", "nic"]
"""What stood for the NIC; results of different sources are never drawn as one series."""

CORE_KINDS = ("wire", "softirq", "cpumap", "napi", "application", "neighbour", "other", "steal")
"""What a core's time is split into, as shares of the measured time; the rest is idle.

Softirqs have their time to themselves, whichever thread they interrupt; cpumap and threaded NAPI
have theirs in threads. Time that was stolen is in the others as well: no clock here can tell.
"""


class Sample(BaseModel):
    """One run of one variant.

    Only counts are given. The properties are derived; ``rate_pps``, ``goodput_bps``, ``loss`` and
    ``unaccounted`` are also written, for other tools that read the file, and derived anew when it
    is read.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    version: Literal[1] = SCHEMA
    source: Source = "veth"
    point: str
    """Id of the experiment's point."""
    round: int = Field(ge=0)
    position: int = Field(ge=0)
    """Place within the round: 0 ran first."""
    variant: str
    seed: int
    started: float
    """Seconds since 1970 at the start of the measured time."""
    seconds: float = Field(gt=0)
    """Measured time, warm-up left out."""
    asked: int | None = None
    """Packets a second that the wire was to offer; None: as fast as it goes."""
    settings: dict[str, str] = {}
    """What was in effect, read back from the kernel: name to value."""
    offered: int = Field(ge=0)
    """Packets that the wire put on the NIC."""
    delivered: int = Field(ge=0)
    """Packets of this run that the sink counted."""
    delivered_bytes: int = Field(ge=0)
    """Their UDP payload."""
    drops: dict[str, dict[str, int]] = {}
    """Packets lost, by stage and name; the kernel's own included."""
    order: dict[str, float] = {}
    """Fields of :class:`prototype.order.OrderSummary`."""
    latency: dict[str, float] = {}
    """``p50``, ``p99``, ``p99.9`` in ns, from the intended send time."""
    cores: dict[int, dict[str, float]] = {}
    """Per core, the share of the measured time by kind (:data:`CORE_KINDS`)."""
    per_packet: dict[str, float] = {}
    """Events for each delivered packet: ``softirqs``, ``polls``, ``ipis``, ``switches``, …"""
    gathered: dict[str, float] = {}
    """Packets to one of: ``poll`` (NAPI), ``bulk`` (cpumap), ``skb`` (segments after GRO), …"""
    tcp: dict[str, int] = {}
    """Of streams: what wire, receiver's TCP and application counted (:mod:`bench.tcp_facts`)."""
    flows: dict[str, float] = {}
    """Of several flows: Jain's index, rates, the others' latency (:func:`bench.fairness.of`)."""
    neighbour: dict[str, float] = {}
    """What a busy neighbour got done meanwhile (:mod:`bench.neighbour`)."""
    wire_share: float = Field(0, ge=0, le=1)
    """Share of the measured time that the wire itself used, on its busiest core."""
    invalid: list[str] = []
    """Why this run must not be used: settings not in effect, the wire the limit, …"""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def rate_pps(self) -> float:
        """Packets delivered a second."""
        return self.delivered / self.seconds

    @computed_field  # type: ignore[prop-decorator]
    @property
    def goodput_bps(self) -> float:
        """Payload bits delivered a second."""
        return self.delivered_bytes * 8 / self.seconds

    @computed_field  # type: ignore[prop-decorator]
    @property
    def loss(self) -> float:
        """Share of the offered packets that was not delivered."""
        return 1 - self.delivered / self.offered if self.offered else 0.0

    @computed_field  # type: ignore[prop-decorator]
    @property
    def unaccounted(self) -> int:
        """Packets neither delivered nor dropped under a name: 0, or the run is invalid."""
        dropped = sum(sum(stage.values()) for stage in self.drops.values())
        return self.offered - self.delivered - dropped

    @property
    def cpu_seconds(self) -> float:
        """Core time used for receiving: not the wire's, nor of threads with no part in it."""
        shares = (
            share
            for core in self.cores.values()
            for kind, share in core.items()
            if kind not in ("wire", "neighbour", "other", "steal")
        )
        return self.seconds * sum(shares)

    @property
    def steal(self) -> float:
        """Share of the cores' time that the hypervisor gave to others."""
        shares = [core.get("steal", 0.0) for core in self.cores.values()]
        return sum(shares) / len(shares) if shares else 0.0

    @property
    def disturbed(self) -> float:
        """Share of a core's time that threads with no part in the run took, on the worst core."""
        return max((core.get("other", 0.0) for core in self.cores.values()), default=0.0)

    @property
    def reasons(self) -> list[str]:
        """Why this run must not be used, conservation included; empty for a good one."""
        if not self.unaccounted:
            return self.invalid
        return [*self.invalid, f"{self.unaccounted} packets unaccounted for"]

    @model_validator(mode="before")
    @classmethod
    def _derive_anew(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        return {k: v for k, v in data.items() if k not in cls.model_computed_fields}
