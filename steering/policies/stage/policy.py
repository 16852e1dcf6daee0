"""A flow's worker is its first choice by a hash, or, while that is busy, its second: Falcon's stages."""

from steering.knobs import Knob
from steering.policy import Order, Policy

POLICY = Policy(
    summary="a core for each stage: the worker of a flow's hash, a second while that is busy, then `stack`",
    order=Order.CELL,
    knobs={
        "cell": Knob(64, 1, 4096, "packets", "length of a cell; NAPI's weight is 64"),
        "limit": Knob(192, 0, 16384, "packets", "backlog above which a worker is busy"),
        "local": Knob(0, 0, 1, "0/1", "whether the NIC's own core is one of the choices"),
    },
    good="a heavy flow whose stages are about alike, with `stack`; in order up to what one worker takes",
    drowns="one stage too heavy for one core, as skb and GRO are: its queue overflows while others idle",
)
