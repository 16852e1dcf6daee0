"""Light flows stay local, heavy ones spread by backlog, and workers that don't get to run are left alone."""

from steering.knobs import Knob
from steering.policy import Order, Policy

POLICY = Policy(
    summary="a light flow stays local; a heavy one goes cell by cell to the least loaded worker that runs",
    order=Order.CELL,
    knobs={
        "light": Knob(
            80,
            1,
            100_000,
            "µs",
            "for 64 packets, below which a flow is heavy; it is light again above twice that",
        ),
    },
    good="when one knows neither traffic nor machine: nothing needs to be tuned",
    drowns="light flows that are too much for the NIC's core together: none of them moves",
    needs_time=True,
)
