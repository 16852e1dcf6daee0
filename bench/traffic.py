"""What the wire sends, and the bounds of it. Imports nothing heavy: the command's help quotes it."""

from dataclasses import dataclass

from steering.errors import BadInput

SMALLEST, LARGEST = 18, 3350
"""Bytes of payload: the stamp's (stamp.h), and what fits LARGEST_FRAME bare; tunnel and MTU allow less."""
LARGEST_FRAME = 3392
"""Bytes of a live frame: with its headroom and what the kernel keeps beside it, it fits a page of 4096."""
MOST_FLOWS = 4096
LARGEST_BATCH = 256
"""Frames that the kernel makes at most before the receiver runs."""
LOSSLESS_BATCH = 128
"""A batch that was never seen to overrun the 256 places of a veth's ring."""
FASTEST = 100_000_000
"""Frames a second that may be asked for."""


@dataclass(frozen=True)
class Traffic:
    """``payload`` bytes a datagram, ``flows`` in turn, ``batch`` frames at once.

    Raises BadInput where a number is out of its range.
    """

    payload: int = SMALLEST
    flows: int = 1
    batch: int = LOSSLESS_BATCH
    run: int = 1
    """Goes into every stamp."""
    rate: int | None = None
    """Frames a second; None: as fast as they go. They leave in batches, evenly."""

    def __post_init__(self) -> None:
        for name, value, least, most in (
            ("payload", self.payload, SMALLEST, LARGEST),
            ("flows", self.flows, 1, MOST_FLOWS),
            ("batch", self.batch, 1, LARGEST_BATCH),
            ("rate", FASTEST if self.rate is None else self.rate, 1, FASTEST),
        ):
            if not least <= value <= most:
                raise BadInput(f"{name} {value} is out of range: choose from {least} to {most}")

    @property
    def interval(self) -> int:
        """ns from one batch to the next; 0: as fast as they go."""
        return 0 if self.rate is None else max(1, round(self.batch * 1e9 / self.rate))
