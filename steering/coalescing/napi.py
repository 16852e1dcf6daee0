"""When and where NAPI polls: threads of its own, or later and more at once."""

from collections.abc import Mapping

from steering.policy import Knob
from steering.settings import Setting, Sysfs, Value
from steering.target import Stock, StockTarget, chosen, stage_knobs
from steering.undo import Changes


def _threaded(target: StockTarget, values: Mapping[str, int], changes: Changes) -> None:
    for place in chosen(target, values, "threaded"):
        changes.sysfs(place.ns, f"class/net/{place.device}/threaded", 1)


def _defer(target: StockTarget, values: Mapping[str, int], changes: Changes) -> None:
    for place in chosen(target, values, "defer"):
        folder = f"class/net/{place.device}"
        wanted: dict[Setting, Value] = {
            Sysfs(f"{folder}/gro_flush_timeout"): values["us"] * 1000,
            Sysfs(f"{folder}/napi_defer_hard_irqs"): values["polls"],
        }
        changes.set(place.ns, wanted)


# Not the tunnel: its NAPI takes from a queue without a lock that belongs to one core (gro_cells),
# and only a packet that finds it empty wakes it. A thread on another core races with that, and
# the tunnel stands still for good, after the thread is gone as well (seen on 6.18, in seconds).
THREADED = Stock(
    "threaded",
    "NAPI polls in kernel threads instead of softirqs",
    _threaded,
    stage_knobs(nic=1, container=1),
)
DEFER = Stock(
    "defer",
    "NAPI polls by a timer while there is traffic (gro_flush_timeout, napi_defer_hard_irqs)",
    _defer,
    {
        "us": Knob(20, 1, 10_000, "us", "how long a poll is put off"),
        "polls": Knob(2, 1, 1000, "polls", "how many empty polls end it"),
        **stage_knobs(nic=1, tunnel=0, container=0),
    },
)
