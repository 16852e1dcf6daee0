"""Cells in a fixed proportion between the NIC's core and the workers."""

from steering.knobs import Knob
from steering.policy import Order, Policy

POLICY = Policy(
    summary="runs of packets stay together; a fixed share of them on the NIC's core",
    order=Order.CELL,
    knobs={
        "cell": Knob(64, 1, 4096, "packets", "length of a cell; NAPI's weight is 64"),
        "local": Knob(50, 0, 100, "%", "share of the cells that stays on the NIC's core"),
    },
    good="a machine whose balance one knows",
    drowns="when the share does not fit: the worker that is behind loses packets",
)
