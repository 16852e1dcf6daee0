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
    drowns="light flows that fill the NIC's core together; a core that is full below 0.8 Mpps: raise light",
    needs_time=True,
)
