"""What the wire sends, and the bounds of it. Imports nothing heavy: the command's help quotes it."""

import re
from dataclasses import asdict, dataclass
from typing import Any

from steering.errors import BadInput

SMALLEST, LARGEST = 18, 3350
"""Bytes of payload: the stamp's (stamp.h), and what fits LARGEST_FRAME bare; tunnel and MTU allow less."""
LARGEST_FRAME = 3392
"""Bytes of a live frame: with its headroom and what the kernel keeps beside it, it fits a page of 4096."""
MOST_FLOWS = 4096
MOST_SHARES = 8192
"""Sum of all shares: places of the table that the wire goes through (wire.h)."""
LARGEST_BATCH = 256
"""Frames that the kernel makes at most before the receiver runs."""
LOSSLESS_BATCH = 128
"""A batch that was never seen to overrun the 256 places of a veth's ring."""
LOWEST_RATE = 100
"""Packets a second: a run waits for a thousand of them."""
FASTEST = 100_000_000
"""Frames a second that may be asked for."""
SEARCHES = ("search", "best")
"""In place of a rate: a load that is searched for (`bench.search`)."""
MOST_LOSS = 0.5
"""Share of the offered packets that such a search may be allowed to lose."""
LONGEST_BURST = 65536
LONGEST_MODERATION = 10_000
"""µs."""
ARRIVALS = "constant, poisson, or bursts:FRAMES"
_SHARES = re.compile(r"\d{1,9}(,\d{1,9})*")
_ARRIVALS = re.compile(r"(constant|poisson)|(bursts):(\d{1,9})")


@dataclass(frozen=True)
class Traffic:
    """``payload`` bytes a datagram, ``flows`` in turn, ``batch`` frames at once.

    Raises BadInput where a number is out of its range, or things don't go together.
    """

    payload: int = SMALLEST
    flows: int = 1
    batch: int = LOSSLESS_BATCH
    """Frames that the NIC hands over at once."""
    run: int = 1
    """Goes into every stamp."""
    rate: int | None = None
    """Frames a second, of all flows; None: as fast as they go."""
    arrivals: str = "constant"
    """ARRIVALS: evenly, at random times of that mean, or so many at once and then none."""
    moderation: int = 0
    """µs that the NIC waits for a batch to fill, from its first frame on. 0: a batch arrives as one."""
    shares: str = ""
    """Of each flow, such as ``90,5,5``; empty means equal ones."""

    def __post_init__(self) -> None:
        for name, value, least, most in (
            ("payload", self.payload, SMALLEST, LARGEST),
            ("flows", self.flows, 1, MOST_FLOWS),
            ("batch", self.batch, 1, LARGEST_BATCH),
            ("rate", FASTEST if self.rate is None else self.rate, 1, FASTEST),
            ("moderation", self.moderation, 0, LONGEST_MODERATION),
        ):
            if not least <= value <= most:
                raise BadInput(f"{name} {value} is out of range: choose from {least} to {most}")
        if not (found := _ARRIVALS.fullmatch(self.arrivals)):
            raise BadInput(f"arrivals '{self.arrivals}': choose {ARRIVALS}")
        if found[2] and not self.batch <= self.burst <= LONGEST_BURST:
            raise BadInput(f"bursts of {self.burst}: choose from {self.batch}, a batch, to {LONGEST_BURST}")
        if self.rate is None and (self.pattern != "constant" or self.moderation):
            what = "moderation" if self.moderation else f"arrivals '{self.arrivals}'"
            raise BadInput(f"{what} at full rate means nothing: give a rate")
        if self.shares and not _SHARES.fullmatch(self.shares):
            raise BadInput(f"shares '{self.shares}': write whole numbers with commas between, such as 90,5,5")
        if len(self.weights) != self.flows or min(self.weights) < 1:
            raise BadInput(f"shares {self.shares}: {self.flows} flows want one of 1 or more each")
        if sum(self.weights) > MOST_SHARES:
            raise BadInput(f"shares add up to {sum(self.weights)}: choose {MOST_SHARES} at most")

    def as_dict(self) -> dict[str, Any]:
        """For JSON: all but the run's number."""
        return {name: value for name, value in asdict(self).items() if name != "run"}

    @property
    def pattern(self) -> str:
        """``constant``, ``poisson`` or ``bursts``."""
        return self.arrivals.partition(":")[0]

    @property
    def burst(self) -> int:
        """Frames of a burst, where they arrive so; else 0."""
        return int(self.arrivals.partition(":")[2] or 0)

    @property
    def weights(self) -> tuple[int, ...]:
        """Shares of all flows."""
        return tuple(map(int, self.shares.split(","))) if self.shares else (1,) * self.flows
