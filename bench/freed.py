"""Losses by the kernel's own reasons: packets that it freed unread in a lab, by function and reason.

Each packet that the sink's filter drops is such an event, too, and looked at: so this is for runs whose rate
is nobody's to compare (bench/explain.py).
"""

import errno
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property

import numpy as np

from bench import symbols
from bench.symbols import Symbols
from steering import bpf, btf, netns
from steering.bpf import Kind
from steering.closing import Closing
from steering.compile import Module
from steering.errors import OversprayError
from steering.layout import header

_FREED = header("freed.h").struct("freed")
_FIELDS = {
    "SKB_DEVICE": ("sk_buff", "dev"),
    "SKB_HEAD": ("sk_buff", "head"),
    "SKB_END": ("sk_buff", "end"),
    "SHARED_SEGMENTS": ("skb_shared_info", "gso_segs"),
    "DEVICE_SPACE": ("net_device", "nd_net", "net"),
    "SPACE_INODE": ("net", "ns", "inum"),
}
"""What freed.bpf.c must know of the running kernel's structs."""
_NO_LOSS = {"not_dropped_yet", "consumed", "socket_filter"}
"""The last: a sink counts a packet, and then has no use for it."""
_OF_ANOTHER = "skb_release_data"
"""The parts of a packet that is freed are freed from there: they have been counted with it."""


class Freed(Closing):
    """Counts what the kernel frees in the named namespaces, until it is closed. A context manager.

    Raises:
        OversprayError: no such namespace, or a kernel that tells no reasons (Linux 5.17), or no types (BTF).
    """

    def __init__(self, namespaces: Sequence[str]) -> None:
        types = btf.kernel()
        self._reasons = reasons(types.enum("skb_drop_reason"))
        defines = {name: types.offset(*path) for name, path in _FIELDS.items()}
        with ExitStack() as stack:  # what was opened is closed if the rest fails
            self._module = stack.enter_context(Module("freed.bpf.c", defines=defines))
            for name in namespaces:
                inode = netns.inode(name)
                self._module.map("freed_watched").put(inode, struct.pack("=I", 1))
            self.program = self._module.load("on_kfree_skb", Kind.RAW_TRACEPOINT)
            try:
                stack.enter_context(bpf.Tracepoint(self.program, "kfree_skb"))
            except bpf.BpfError as error:
                if error.errno != errno.EINVAL:
                    raise
                raise OversprayError("this kernel gives no drop reasons: boot 5.17 or later") from None
            self._open = stack.pop_all()

    def close(self) -> None:
        """Count no more. Closing twice is harmless."""
        self._open.close()

    def read(self) -> dict[str, int]:
        """Packets since it was opened, by ``function.reason``: ``enqueue_to_backlog.cpu_backlog``.

        Those that GRO has put into one count each; what a sink has had is left out.
        """
        table = self._module.map("freed_packets")
        counted = self._module.counts("freed_counters", "freed_counter")
        found = Counter({"elsewhere.unnamed": int(counted["unnamed"].sum())})
        for key in table.keys(_FREED.itemsize):
            freed = np.frombuffer(key, _FREED)[0]
            reason = self._reasons.get(int(freed["reason"]), f"reason_{freed['reason']}")
            place = self._symbols.of(int(freed["place"]) - 1).partition(".")[0]  # the compiler's parts of it
            if reason not in _NO_LOSS and place != _OF_ANOTHER:
                found[f"{place}.{reason}"] += int(table.get(np.dtype("<u8"), key).sum())
        return dict(found)

    @cached_property
    def _symbols(self) -> Symbols:
        return symbols.running()


def reasons(enum: Mapping[str, int]) -> dict[int, str]:
    """Names of enum skb_drop_reason as people are shown them: ``no_socket`` of SKB_DROP_REASON_NO_SOCKET."""
    plain = {number: name.removeprefix("SKB_").removeprefix("DROP_REASON_") for name, number in enum.items()}
    return {number: name.lower() for number, name in plain.items()}
