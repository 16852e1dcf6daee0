"""Bridge netfilter: whether bridged IP packets also go through iptables' hooks."""

from collections.abc import Mapping

from steering.errors import BadInput
from steering.settings import Setting, Sysctl, Value
from steering.target import Stock, StockTarget
from steering.undo import Changes

HOOKS = ("net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables")


def _netfilter(target: StockTarget, values: Mapping[str, int], changes: Changes) -> None:
    if not target.containers:
        raise BadInput("'netfilter' has nothing to act on here: no bridge")
    wanted: dict[Setting, Value] = {Sysctl(hook): 1 for hook in HOOKS}
    changes.set(target.tunnel_ns, wanted)


NETFILTER = Stock(
    "netfilter",
    "bridge netfilter on, as Docker and Kubernetes set it; it costs even without a rule",
    _netfilter,
)
