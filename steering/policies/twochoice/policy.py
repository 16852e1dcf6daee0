"""Cells to the less loaded of two workers drawn at random, below a limit; else local."""

from steering.policy import Knob, Order, Policy

POLICY = Policy(
    summary="a cell goes to the less loaded of two random workers below a limit, else it stays",
    order=Order.CELL,
    knobs={
        "cell": Knob(64, 1, 4096, "packets", "length of a cell; NAPI's weight is 64"),
        "limit": Knob(128, 1, 8192, "packets", "backlog from which a worker gets no more cells"),
    },
    good="many workers: it looks at two, whatever their number",
    drowns="few workers: it sees no more than backlog, and draws lots for it",
    counters={
        "cells_local": "cells that stayed on the NIC's core",
        "cells_remote": "cells that went to a worker",
    },
)
