"""Cores in sets, one for each container: what is heavy for one takes no core of another's."""

from steering.policy import Knob, Order, Policy

POLICY = Policy(
    summary="each container has a set of cores, and its cells go to the least loaded of them",
    order=Order.CELL,
    knobs={
        "sets": Knob(2, 1, 64, "sets", "into which the cores are dealt, the NIC's included"),
        "cell": Knob(64, 1, 4096, "packets", "length of a cell; NAPI's weight is 64"),
        "limit": Knob(128, 1, 8192, "packets", "backlog from which the NIC's core keeps a cell"),
    },
    good="a heavy container beside others: they share no core behind the NIC stage",
    drowns="a heavy container may not use the cores of idle ones, and loses what its own can't do",
    counters={
        "cells_local": "cells that stayed on the NIC's core",
        "cells_remote": "cells that went to a worker",
    },
)
