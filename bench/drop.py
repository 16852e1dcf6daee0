"""The shortest receiver: an XDP program on the NIC that counts every frame and drops it."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from bench.lab import Lab
from steering import bpf, netns
from steering.bpf import Kind
from steering.compile import Module


class Drop:
    """What a dropping NIC has seen."""

    def __init__(self, module: Module) -> None:
        self._module = module

    def seen_by_core(self) -> NDArray[np.uint64]:
        """Frames that each core has counted: shape (possible cores,)."""
        return self._module.counts("drop_counters", "drop_counter")["seen"]

    @property
    def seen(self) -> int:
        """Frames counted, by all cores."""
        return int(self.seen_by_core().sum())


@contextmanager
def dropping(lab: Lab) -> Iterator[Drop]:
    """The lab's NIC drops all that arrives until the block ends."""
    with Module("drop.bpf.c") as module:
        program = module.load("drop", Kind.XDP)
        with netns.entered(lab.host_ns):
            link = bpf.Link(program, lab.nic_index, bpf.ATTACH_XDP, bpf.XDP_NATIVE)
        with link:
            yield Drop(module)
