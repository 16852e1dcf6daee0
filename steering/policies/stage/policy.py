"""A flow's path cut by device stage over cores, with a second choice when one is busy."""

from steering.policy import Knob, Order, Policy

POLICY = Policy(
    summary="NIC stage here, the stack where the hash says; a second choice when that is busy",
    order=Order.CELL,
    knobs={
        "cell": Knob(64, 1, 4096, "packets", "how long a choice stands"),
        "busy": Knob(256, 1, 8192, "packets", "backlog from which a core counts as busy"),
    },
    good="a flow whose NIC stage and stack together are too much for one core",
    drowns="a flow whose stack alone fills a core",
    counters={
        "first": "cells that went to the first choice",
        "second": "cells that went to the second, for the first was busy",
        "neither": "cells that stayed, for both were busy",
    },
)
