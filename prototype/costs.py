"""What each stage of the receive path costs on a host, as the model takes it.

Costs are ns of one core's time, a mean and a spread. They come from a file that calibration wrote
on this host, or from :func:`reference`, which was fitted to the results in ``docs/results``.
"""

import json
from collections.abc import Mapping
from math import exp, log
from pathlib import Path
from typing import Any, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from steering.errors import BadInput

SCHEMA: Final = 2
"""Of the file; grows with every change of a stage's meaning."""

_SAME = ("machine", "cpu", "kernel", "cores")


class Cost(BaseModel):
    """ns: a mean, and a spread as the standard deviation of its logarithm (0: always the mean)."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    mean: float = Field(ge=0)
    spread: float = Field(default=0, ge=0, le=3)

    def quantiles(self, count: int) -> NDArray[np.float64]:
        """So many equally likely values, a lognormal's, with exactly this mean: shape (count,)."""
        if not self.spread:
            return np.full(count, self.mean)
        from scipy.special import ndtri

        values = np.exp(self.spread * ndtri((np.arange(count) + 0.5) / count))
        scaled: NDArray[np.float64] = values * (self.mean / values.mean())
        return scaled


class Stages(BaseModel):
    """ns by stage; what each covers decides where calibration must look for it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    wire: Cost
    """The lab's wire, a packet."""
    irq: Cost
    """A hard interrupt."""
    softirq: Cost
    """Entering and leaving a softirq."""
    poll: Cost
    """A NAPI poll, whatever it finds."""
    nic: Cost
    """Driver and XDP dispatch, a packet."""
    steer: Cost
    """Our NIC stage without the handoff, a packet."""
    hand: Cost
    """A packet that goes to another core: into the bulk."""
    bulk: Cost
    """A bulk into a worker's queue."""
    take: Cost
    """A bulk out of it."""
    skb: Cost
    """An skb made of a frame."""
    gro: Cost
    """GRO that merges, a packet."""
    miss: Cost
    """GRO that looks at a packet and merges nothing."""
    tunnel_gro: Cost
    """The same where the tunnel is still on."""
    outer: Cost
    """Outer IP, UDP and VXLAN device, an skb."""
    bridge: Cost
    """Bridge and veth, an skb."""
    stack: Cost
    """The last IP and UDP, an skb, up to the socket."""
    redirect: Cost
    """Ours, an skb: tc programs and redirects into the container."""
    tcp: Cost
    """The last IP and TCP, an skb, its ACK included."""
    socket: Cost
    """Into the socket and to the counting sink, an skb of one packet."""
    segment: Cost
    """The same for each packet that GRO had gathered."""
    lock: Cost
    """Of these, what one core at a time can do on a socket."""
    bounce: Cost
    """A socket's lines that another core had."""
    read: Cost
    """The application, a datagram, without the copy."""
    hash: Cost
    """Of an skb's flow: RPS asks for it, and a veth that chooses a queue to send by; the skb keeps
    it until its tunnel is taken off. 118 ns by BPF_PROG_TEST_RUN (bpf_get_hash_recalc)."""
    hop: Cost
    """An skb into another core's backlog, or to find that full (RPS)."""
    ipi: Cost
    """Raising a softirq on another core."""
    wake: Cost
    """Waking a thread."""
    switch: Cost
    """A change of threads."""
    clock: Cost
    """Reading the time for a policy that needs it."""


class Shared(BaseModel):
    """What cores share, and waits that cost no core's time."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    cold: float = Field(ge=0)
    """ns to get a packet's memory from the core that received it, out of a short queue."""
    deep: float = Field(ge=0)
    """The same out of a long one: it has left the caches near by."""
    depth: int = Field(ge=1)
    """Packets from which a queue is long."""
    byte: float = Field(ge=0)
    """ns to touch a byte of payload (checksum)."""
    copy_byte: float = Field(ge=0)
    """ns to copy one to the application."""
    contention: float = Field(ge=0, le=1)
    """Share by which each other busy core slows this one."""
    memory: float = Field(ge=0)
    """Bytes a second through the memory; 0: without bound."""
    irq_latency: float = Field(ge=0)
    ipi_latency: float = Field(ge=0)
    wake_latency: float = Field(ge=0)
    """ns from the cause until it runs there."""
    slice: float = Field(gt=0)
    """ns that a thread runs before another one on its core has its turn."""
    softirq_limit: float = Field(gt=0)
    """ns after which softirqs take turns with threads (2 ms in the kernel)."""


class Costs(BaseModel):
    """A whole file: costs, where they are from, and the host that they hold for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[2] = SCHEMA
    source: str = Field(min_length=1)
    """What they were measured or fitted by, in words."""
    fingerprint: dict[str, Any] = {}
    """Of the host (``bench.fingerprint``); empty: of no host in particular."""
    stages: Stages
    shared: Shared
    policies: dict[str, float] = {}
    """ns that a policy's own decision takes, by its name; 0 where it is not named."""
    used: tuple[str, ...] = ()
    """Lab runs that they were fitted to: none of these can validate them."""

    @classmethod
    def read(cls, path: Path, host: Mapping[str, Any] | None = None) -> Self:
        """Read a file.

        Args:
            path: the file.
            host: this host's fingerprint, or None when the file may be another's.

        Raises:
            BadInput: no such file, not of this form or version, or another host's.
        """
        again = "type 'overspray twin calibrate' to write one"
        try:
            data = json.loads(path.read_text())
        except OSError as error:
            raise BadInput(f"costs '{path}': {error.strerror}: {again}") from None
        except ValueError:
            raise BadInput(f"costs '{path}': not JSON: {again}") from None
        if isinstance(data, dict) and data.get("version") != SCHEMA:
            found = data.get("version")
            raise BadInput(f"costs '{path}': version {found}, not {SCHEMA}: {again}")
        try:
            costs = cls.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise BadInput(f"costs '{path}': {where}: {first['msg']}: {again}") from None
        if host is not None and costs.fingerprint:
            for key in _SAME:
                mine, theirs = host.get(key), costs.fingerprint.get(key)
                if mine != theirs:
                    what = f"{key} {theirs}, here it is {mine}"
                    raise BadInput(f"costs '{path}': of another host ({what}): {again}")
        return costs

    def write(self, path: Path) -> None:
        """Write the file that :meth:`read` reads."""
        path.write_text(self.model_dump_json(indent=2) + "\n")

    def deterministic(self) -> Self:
        """The same without spread."""
        stages = {name: Cost(mean=cost.mean) for name, cost in self.each()}
        return self.model_copy(update={"stages": Stages(**stages)})

    def each(self) -> list[tuple[str, Cost]]:
        """Stages by name."""
        return [(name, getattr(self.stages, name)) for name in Stages.model_fields]

    def scaled(self, factors: Mapping[str, float]) -> Self:
        """The same with the means of some stages multiplied."""
        stages = {
            name: Cost(mean=cost.mean * factors.get(name, 1.0), spread=cost.spread)
            for name, cost in self.each()
        }
        return self.model_copy(update={"stages": Stages(**stages)})


def spread_of(median: float, p99: float) -> float:
    """The spread of a lognormal cost with this median and 99th percentile."""
    return log(p99 / median) / 2.3263478740408408 if p99 > median > 0 else 0.0


def mean_of(median: float, spread: float) -> float:
    """Its mean."""
    return median * exp(spread * spread / 2)


def reference() -> Costs:
    """Fitted by hand to the one-flow results in ``docs/results/single_flow``: two cores.

    Per-packet costs are busy time by packets of the variants that a core alone serves: ``local``
    and ``native``, with and without gro-list, tell socket, stack and GRO apart; ``linux`` and
    ``docker`` add the outer stage and the bridge; ``pin`` gives the handoff and what memory out of
    a long queue costs, ``backlog`` out of a short one; 18 against 1400 bytes the byte. Interrupts,
    wake-ups, locks, contention, memory, latencies and all spreads are estimates;
    nothing here has measured them.
    """
    means = {
        **{"wire": 135, "irq": 500, "softirq": 250, "poll": 150, "nic": 60, "steer": 55},
        **{"hand": 40, "bulk": 400, "take": 250, "skb": 100, "gro": 320, "miss": 130},
        **{"tunnel_gro": 130, "outer": 780, "bridge": 1130, "stack": 650, "redirect": 280},
        **{"tcp": 2000, "socket": 230, "segment": 185, "lock": 40, "bounce": 60, "read": 790},
        **{"hash": 118, "hop": 260, "ipi": 600, "wake": 1500, "switch": 1200, "clock": 20},
    }
    stages = {name: Cost(mean=mean, spread=0.25) for name, mean in means.items()}
    shared = Shared(
        cold=200,
        deep=650,
        depth=1024,
        byte=0.21,
        copy_byte=0.05,
        contention=0.03,
        memory=25e9,
        irq_latency=1500,
        ipi_latency=1500,
        wake_latency=3000,
        slice=3e6,
        softirq_limit=2e6,
    )
    return Costs(
        source="fitted to docs/results/single_flow", stages=Stages(**stages), shared=shared
    )
