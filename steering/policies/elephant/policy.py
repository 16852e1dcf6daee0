"""Light flows stay on the core of their hash, heavy ones are sprayed."""

from steering.policy import Knob, Need, Order, Policy

POLICY = Policy(
    summary="light flows stay where their hash says, heavy ones are sprayed by backlog",
    order=Order.CELL,
    knobs={
        "window": Knob(10000, 10, 1000000, "us", "over which a flow is weighed"),
        "heavy": Knob(2000, 1, 1000000, "packets", "more than this in a window make a flow heavy"),
        "cell": Knob(64, 1, 4096, "packets", "length of a heavy flow's cells"),
        "limit": Knob(128, 1, 8192, "packets", "backlog from which a worker gets no more cells"),
    },
    good="a few heavy flows among many light ones",
    drowns="heavy flows shorter than a window; more flows than the table has places",
    needs=frozenset({Need.TIME}),
    counters={
        "grown": "times that a flow grew heavy",
        "cells_local": "cells that stayed on the NIC's core",
        "cells_remote": "cells that went to a worker",
    },
)
