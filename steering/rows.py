"""Tables that the NIC stage reads while we change them: an index by key, and rows it compares.

A row is written in two steps, the second of which makes it valid; it is made invalid before its key
goes, and its place is the last to be used again. So a packet sees a row whole, or not at all.
"""

import struct
import time
from collections import deque
from collections.abc import Callable, Mapping

from steering import bpf
from steering.compile import Module
from steering.errors import OversprayError

_GRACE_SECONDS = 0.001
"""Far longer than a packet is in the NIC stage."""

Row = Callable[[bool], bytes]
"""Bytes of a row, valid or not."""


class Rows:
    """The maps ``NAME_rows`` (hash, key to row number) and ``NAMEs`` (array of rows)."""

    def __init__(self, module: Module, name: str, most: int) -> None:
        self._module = module
        self._name = name
        self._placed: dict[bytes, tuple[int, bytes]] = {}
        self._free = deque(range(1, most))  # 0 is every new flow's hint: it stays invalid

    def replace(self, wanted: Mapping[bytes, Row]) -> None:
        """Make the table hold just these rows.

        Raises:
            OversprayError: more rows than the table has.
        """
        index = self._module.fd(f"{self._name}_rows")
        valid = {key: row(True) for key, row in wanted.items()}
        gone = [key for key, (_, held) in self._placed.items() if valid.get(key) != held]
        for key in gone:
            place, held = self._placed.pop(key)
            self._module.put(f"{self._name}s", place, bytes(len(held)))
            bpf.map_delete(index, key)
            self._free.append(place)
        if gone:
            time.sleep(_GRACE_SECONDS)
        for key in valid.keys() - self._placed.keys():
            if not self._free:
                raise OversprayError(f"more {self._name}s than the datapath has room for")
            place = self._free.popleft()
            self._module.put(f"{self._name}s", place, wanted[key](False))
            self._module.put(f"{self._name}s", place, valid[key])
            bpf.map_update(index, key, struct.pack("=I", place))
            self._placed[key] = place, valid[key]
