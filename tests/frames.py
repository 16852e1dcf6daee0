"""What tests of single frames share: the NIC stage, one frame at a time."""

import struct
from typing import Any

from scapy.packet import Packet

from steering import bpf
from steering.unit import Route, Unit

STRIPPED = "local"
SECRET = 0x1122334455667788


def but(layer: Packet, **fields: Any) -> Packet:
    """The layer with other values."""
    other = layer.copy()
    for name, value in fields.items():
        setattr(other, name, value)
    return other


class Nic:
    """The compiled program, one frame at a time."""

    def __init__(self, unit: Unit, route: Route) -> None:
        """``unit`` has that secret, and all its routes lead where this one does."""
        self._unit = unit
        # What a test run shows in front of a stripped frame: its metadata (struct proof).
        self._proof = struct.pack("=Q4I", SECRET, route.device, route.next, 0, 0)

    def __call__(self, frame: Packet | bytes) -> tuple[str, bytes]:
        """Under which counter, and what is left of the frame. Whatever it is: never dropped, counted once,
        and whole."""
        data = bytes(frame)
        before = self._counted()
        verdict, after = bpf.test_run(self._unit.program, data)
        counted = {name: n - before[name] for name, n in self._counted().items() if n != before[name]}
        assert verdict == bpf.XDP_PASS
        assert counted.pop("seen") == 1
        [(name, count)] = counted.items()
        assert count == 1
        if name == STRIPPED:
            assert after.startswith(self._proof)
            return name, after[len(self._proof) :]
        assert name.startswith("pass_")
        assert after == data
        return name, after

    def _counted(self) -> dict[str, int]:
        counts = self._unit._module.counts("steer_counters", "steer_counter")
        return {name: int(values.sum()) for name, values in counts.items()}
