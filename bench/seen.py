"""A lab's NIC under a program that only counts: frames are left to the stock stack, or dropped."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.lab import Lab
from steering import nic
from steering.bpf import Kind, Link
from steering.closing import Closing
from steering.compile import Module

Verdict = Literal["pass", "drop"]


class Seen(Closing):
    """The programs, and what they have counted on all NICs that they were attached to. A context manager."""

    def __init__(self) -> None:
        self._module = Module("seen.bpf.c")

    def program(self, function: Verdict) -> int:
        """Its descriptor, which stays ours."""
        return self._module.load(function, Kind.XDP)

    def attached(self, lab: Lab, function: Verdict = "pass") -> Link:
        """Until the link is closed, every frame is counted and does as the function's name says.

        OversprayError where the device takes no native XDP, or has a program already.
        """
        return nic.attached(self.program(function), lab.target.nic, lab.nic_index)

    def by_core(self) -> NDArray[np.uint64]:
        """Frames that each core has counted: shape (possible cores,)."""
        return self._module.counts("seen_counters", "seen_counter")["frames"]

    @property
    def frames(self) -> int:
        """Frames counted, by all cores."""
        return int(self.by_core().sum())

    def close(self) -> None:
        """Unload. Closing twice is harmless."""
        self._module.close()


@contextmanager
def passing(lab: Lab) -> Iterator[Seen]:
    """The stock stack has all that arrives on the lab's NIC, until the block ends."""
    with Seen() as seen, seen.attached(lab):
        yield seen


@contextmanager
def dropping(lab: Lab) -> Iterator[Seen]:
    """The lab's NIC drops all that arrives, until the block ends."""
    with Seen() as seen, seen.attached(lab, "drop"):
        yield seen
