"""How much one run of the receive softirq takes: limits of the whole host."""

from collections.abc import Mapping

from steering.policy import Knob
from steering.settings import Setting, Sysctl, Value
from steering.target import INITIAL, Stock, StockTarget
from steering.undo import Changes

BUDGET_PACKETS, BUDGET_TIME = "net/core/netdev_budget", "net/core/netdev_budget_usecs"
WEIGHT_PACKETS = "net/core/dev_weight"


def _budget(target: StockTarget, values: Mapping[str, int], changes: Changes) -> None:
    wanted: dict[Setting, Value] = {
        Sysctl(BUDGET_PACKETS): values["packets"],
        Sysctl(BUDGET_TIME): values["us"],
    }
    changes.set(INITIAL, wanted)


def _weight(target: StockTarget, values: Mapping[str, int], changes: Changes) -> None:
    changes.sysctl(INITIAL, WEIGHT_PACKETS, values["packets"])


BUDGET = Stock(
    "budget",
    "how much one NET_RX softirq takes before it makes way (netdev_budget, netdev_budget_usecs)",
    _budget,
    {
        "packets": Knob(300, 1, 100_000, "packets", "over all of its polls"),
        "us": Knob(
            8_000, 1, 1_000_000, "us", "or for so long; the kernel takes no less than two ticks"
        ),
    },
)
WEIGHT = Stock(
    "weight",
    "how much one poll takes from a core's backlog, behind RPS and veth (dev_weight)",
    _weight,
    {"packets": Knob(64, 1, 10_000, "packets", "of one poll")},
)
