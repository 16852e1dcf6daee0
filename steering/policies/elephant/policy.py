"""Light flows stay on their hash's slot; heavy ones are spread in cells by backlog."""

from steering.knobs import Knob
from steering.policy import Order, Policy

POLICY = Policy(
    summary="a light flow stays where its hash puts it; a heavy one is spread in cells by backlog",
    order=Order.CELL,
    knobs={
        "heavy": Knob(512, 1, 1_000_000, "packets", "in one window that make a flow heavy"),
        "window": Knob(10, 1, 1000, "ms", "for which packets are counted"),
        "cell": Knob(64, 1, 4096, "packets", "length of a heavy flow's cell; NAPI's weight is 64"),
        "limit": Knob(192, 0, 16384, "packets", "largest backlog of a worker, the new cell included"),
    },
    good="many light flows, which stay in order, and some heavy ones",
    drowns="many flows just above the threshold: reordered, for no more than hash gives them",
    needs_time=True,
)
