"""What stays on the NIC's core is handed, after GRO, to a worker's core: RPS on the NIC.

RPS chooses by a packet's flow, so a flow keeps its order; the NIC stage and its strip come before.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from steering import netns
from steering.overlay import Overlay
from steering.settings import Setting, Sysfs, Value
from steering.target import Place, rx_queues
from steering.undo import Changes

_WAITING = 11
"""Column of softnet_stat (from 0): packets that wait in a core's backlog. Linux 5.10."""

_SECONDS = 0.5


class AfterGro:
    """RPS of one NIC, as it was found until cores are named."""

    def __init__(self, overlay: Overlay, changes: Changes) -> None:
        self._changes = changes
        self._ns = overlay.nic_ns.found_at
        self._queues = rx_queues(Place(self._ns, overlay.nic))
        self._found: dict[Setting, Value] | None = None
        self._cores: Sequence[int] = ()

    def hand_to(self, cores: Sequence[int]) -> None:
        """To one of these from now on; to none: as it was found."""
        if cores == self._cores:
            return
        if self._found is None:
            self._found = netns.in_namespace(
                self._ns, lambda: {mask: mask.read() for mask in self._masks()}
            )
        wanted: dict[Setting, Value] = dict(self._found)
        if cores:
            wanted = dict.fromkeys(self._found, f"{sum(1 << core for core in cores):x}")
        self._changes.set(self._ns, wanted)
        self._cores = cores

    def drain(self) -> None:
        """Wait until no named core has anything waiting; not for ever, others use them too."""
        waiting = set(self._cores)
        deadline = time.monotonic() + _SECONDS
        while waiting and time.monotonic() < deadline:
            waiting -= {core for core, packets in _backlogs().items() if not packets}

    def _masks(self) -> list[Setting]:
        return [Sysfs(f"{queue}/rps_cpus") for queue in self._queues]


def _backlogs() -> dict[int, int]:
    """Packets that wait for each core. Column 12 is its number."""
    rows = [line.split() for line in Path("/proc/net/softnet_stat").read_text().splitlines()]
    return {int(row[12], 16): int(row[_WAITING], 16) for row in rows if len(row) > 12}
