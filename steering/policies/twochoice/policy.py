"""Cells to the less loaded of two workers drawn by chance, within a limit; else local."""

from steering.knobs import Knob
from steering.policy import Order, Policy

POLICY = Policy(
    summary="a cell goes to the less loaded of two workers drawn by chance, within a limit, else local",
    order=Order.CELL,
    knobs={
        "cell": Knob(64, 1, 4096, "packets", "length of a cell; NAPI's weight is 64"),
        "limit": Knob(192, 0, 16384, "packets", "largest backlog of a worker, the new cell included"),
    },
    good="a heavy flow and many workers: nearly what backlog does, for two looks",
    drowns="few workers: it sees less than backlog; a light flow pays the handoff for nothing",
)
