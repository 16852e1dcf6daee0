"""Local while the NIC's core keeps up, spread by backlog when it does not, gentle to a reader."""

from steering.policy import Need, Order, Policy

POLICY = Policy(
    summary="local while the NIC's core keeps up, else by backlog; spares an application's core",
    order=Order.CELL,
    knobs={},
    good="light and heavy flows alike, with a reader or without: nothing to tune",
    drowns="just above the NIC core's limit: to and fro between local and remote",
    needs=frozenset({Need.PRESSURE, Need.YIELDS}),
    nice=10,
    counters={
        "cells_calm": "cells that stayed, for the NIC's core was not pressed",
        "cells_full": "cells that stayed, for every worker had enough",
        "cells_remote": "cells that went to a worker",
        "cells_crowded": "of these or of the full ones, halved to spare an application",
    },
)
