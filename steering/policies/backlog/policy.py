"""Cells to the worker with the smallest backlog, below a limit; else local."""

from steering.policy import Knob, Order, Policy

POLICY = Policy(
    summary="a cell goes to the least loaded worker below a limit, else it stays local",
    order=Order.CELL,
    knobs={
        "cell": Knob(64, 1, 4096, "packets", "length of a cell; NAPI's weight is 64"),
        "limit": Knob(128, 1, 8192, "packets", "backlog from which a worker gets no more cells"),
    },
    good="a heavy flow, on cores of any speed; nothing lost in queues",
    drowns="a light flow pays the handoff for nothing; a high limit starves a reader on the worker",
    counters={
        "cells_local": "cells that stayed on the NIC's core",
        "cells_remote": "cells that went to a worker",
    },
)
