"""Why the kernel dropped packets, in its own words (tracepoint skb:kfree_skb)."""

import re
from collections import Counter
from functools import cache

import numpy as np

from steering import bpf, tracefs
from steering.closing import Closing
from steering.compile import Module
from steering.layout import header

_FORMAT = "events/skb/kfree_skb/format"
_NO_LOSS = frozenset({"socket_filter", "not_dropped_yet", "consumed"})
"""The sink `count` drops every packet that it has counted by a socket filter."""


class Reasons(Closing):
    """Counts from construction to :meth:`close`; a context manager. Sees the whole host."""

    def __init__(self) -> None:
        self._module = Module("why.bpf.c")
        self._size = header("observe.h").constants["WHY_REASONS"]

    def read(self) -> Counter[str]:
        """Packets dropped since construction, by reason; what is no loss is left out."""
        dtype = np.dtype([("count", "<u8", (self._size,))])
        rows = bpf.map_lookup(self._module.fd("reasons"), bytes(4), dtype, per_core=True)["count"]
        totals = rows.sum(axis=0)
        names = _names()
        found = Counter(
            {names.get(int(i), f"reason_{i}"): int(totals[i]) for i in np.flatnonzero(totals)}
        )
        return Counter({name: n for name, n in found.items() if name not in _NO_LOSS})

    def close(self) -> None:
        """Stop counting."""
        self._module.close()


@cache
def _names() -> dict[int, str]:
    """Number -> name of this kernel's reasons: they are renumbered from release to release."""
    with tracefs.opened() as root:
        text = (root / _FORMAT).read_text() if (root / _FORMAT).exists() else ""
    return {int(number): name.lower() for number, name in re.findall(r'\{ (\d+), "(\w+)" \}', text)}
