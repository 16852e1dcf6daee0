"""Backlog made right for TCP: GRO's cells, a guard against stalled workers, small flows local."""

from steering.policy import Knob, Need, Order, Policy

POLICY = Policy(
    summary="for TCP: cells of GRO's size by backlog; small and light flows, and control, local",
    order=Order.CELL,
    knobs={
        "cell": Knob(64, 1, 4096, "packets", "length of a cell; NAPI's weight is 64"),
        "limit": Knob(128, 1, 8192, "packets", "backlog from which a worker gets no more cells"),
        "small": Knob(512, 0, 1 << 20, "packets", "a flow stays local for its first so many"),
        "calm": Knob(1, 0, 1, "0/1", "stay local while the NIC core's polls are not full"),
        "still": Knob(8, 1, 4096, "cells", "a worker that does nothing for so long is starved"),
        "rest": Knob(160, 0, 1 << 20, "cells", "and left alone for so long; 0: no guard"),
    },
    good="one heavy TCP stream, with the ACK shield up",
    drowns="many streams load all cores without it; what a starved worker keeps comes late",
    needs=frozenset({Need.PRESSURE}),
    counters={
        "cells_calm": "cells that stayed, for the NIC's core kept up",
        "cells_local": "cells that stayed, for workers had enough or rested",
        "cells_remote": "cells that went to a worker",
        "stalls": "times that a worker stood still and was left alone",
    },
    nice=10,
)
