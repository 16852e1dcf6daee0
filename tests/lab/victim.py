"""A run to be killed: a lab up, and frames on the wire.

Says the lab's namespaces, and goes on until its stdin closes, so that it ends with the test that started it,
whatever happens to that one.
"""

import select
import sys

from bench.lab import lab
from bench.seen import dropping
from bench.wire import Wire

with lab() as up, dropping(up), Wire(up) as wire:
    wire.send(128)
    print(up.wire_ns, up.host_ns, flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        wire.send(128)
