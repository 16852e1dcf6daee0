"""Stock coalescing: how packets are gathered before a softirq or a socket sees them."""

from steering.coalescing.gro import GRO, GRO_LIST, GRO_OFF, UDP_FORWARD
from steering.coalescing.napi import DEFER, THREADED
from steering.coalescing.netfilter import NETFILTER
from steering.coalescing.softirq import BUDGET, WEIGHT
from steering.target import Stock

COALESCING: dict[str, Stock] = {
    each.name: each
    for each in (
        *(GRO, GRO_OFF, GRO_LIST, UDP_FORWARD),
        *(THREADED, DEFER, BUDGET, WEIGHT),
        NETFILTER,
    )
}
