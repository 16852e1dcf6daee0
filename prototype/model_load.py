"""What the model is given beside a path: the machine, and the load on it."""

from dataclasses import dataclass
from typing import Literal

from steering.errors import BadInput
from steering.layout import header

MOST_CORES = 128
MOST_FLOWS = 1024
MAX_WORKERS = header("policy.h").constants["MAX_WORKERS"]


@dataclass(frozen=True)
class Machine:
    """Cores by number, and what their queues hold. Sizes in packets unless said otherwise."""

    cores: int = 2
    queues: int = 1
    """Of the NIC; queue i interrupts core i."""
    workers: tuple[int, ...] | None = None
    """None: every core that no NIC queue interrupts, at most as many as a policy knows."""
    apps: tuple[int, ...] | None = None
    """Cores of the applications, flow after flow; None: the last worker, or every core when
    there are several flows."""
    link: float = 100e9
    """bit/s."""
    ring: int = 1024
    queue: int = 2048
    backlog: int = 1000
    socket: int = 256
    """Datagrams that a socket holds for its application."""
    hold_us: float = 0
    frames: int = 1
    """Interrupt moderation: the first packet waits so long for others, or until so many came."""
    lab: bool = False
    """The lab's wire instead of a NIC: a thread on the NIC's core, which offers what it can."""
    batch: int = 128
    """Of the lab's wire."""

    def __post_init__(self) -> None:
        if not 1 <= self.cores <= MOST_CORES:
            raise BadInput(f"cores {self.cores} is out of range: 1 to {MOST_CORES}")
        if not 1 <= self.queues <= self.cores:
            raise BadInput(f"queues {self.queues}: 1 to {self.cores}, for every one has a core")
        for core in (*(self.workers or ()), *(self.apps or ())):
            if not 0 <= core < self.cores:
                raise BadInput(f"core {core} does not exist: choose from 0 to {self.cores - 1}")
        if len(self.workers or ()) > MAX_WORKERS:
            raise BadInput(f"{len(self.workers or ())} workers: at most {MAX_WORKERS}")
        if self.lab and self.queues > 1:
            raise BadInput("the lab's wire has one queue")
        if not 1 <= self.batch <= 256 <= self.ring or min(self.queue, self.backlog) < 1:
            raise BadInput("batch is 1 to 256, a ring at least 256, other queues at least 1")

    def worker_cores(self) -> tuple[int, ...]:
        """Slot 1, 2, …; on one core none."""
        rest = range(self.queues, self.cores)
        return tuple(rest)[:MAX_WORKERS] if self.workers is None else self.workers


@dataclass(frozen=True)
class Load:
    """What is sent, and who receives it."""

    payload: int = 18
    flows: int = 1
    rate: float | None = None
    """Packets a second over all flows; None: all that the link (or the lab's wire) takes."""
    protocol: Literal["udp", "tcp"] = "udp"
    arrivals: Literal["constant", "poisson"] = "constant"
    burst: int = 1
    """Packets that are due at one time."""
    train: int = 1
    """Consecutive packets of one flow, with several flows."""
    reads: bool = False
    """An application reads; else packets are counted at the socket."""
    alike: bool = False
    """RSS and RPS cannot tell the flows apart (the paper's native UDP)."""
    window: int = 0
    """Packets that a flow may have under way; 0: without bound."""
    seconds: float = 0.1
    warmup: float = 0.01
    seed: int = 1

    def __post_init__(self) -> None:
        checks = (
            (1 <= self.flows <= MOST_FLOWS, f"flows {self.flows}: 1 to {MOST_FLOWS}"),
            (1 <= self.payload <= 65000, f"payload {self.payload}: 1 to 65000 bytes"),
            (self.rate is None or self.rate > 0, f"rate {self.rate}: more than 0 packets/s"),
            (self.seconds > 0 <= self.warmup, "seconds are more than 0, warm-up is not negative"),
            (min(self.burst, self.train) > 0, "a burst and a train have at least 1 packet"),
        )
        for holds, said in checks:
            if not holds:
                raise BadInput(said)
