"""Where packets went: each one that the kernel drops has a reason, and with those the book is exact."""

import pytest
from ground import NIC_CORE, attached
from pyroute2 import IPRoute

from bench import cost
from bench.bed import Bed
from bench.explain import Explainer
from bench.freed import Freed
from bench.lab import Lab
from bench.seen import passing
from bench.traffic import Traffic
from bench.variant import Variant
from bench.wire import Wire
from steering import netns, stock
from steering.datapath import Units
from steering.spec import Spec
from steering.undo import Changes

pytestmark = pytest.mark.needs("BTF", "cpumap programs", "tc links")

N = 1280


def named(freed: Freed) -> dict[str, int]:
    return {name: count for name, count in freed.read().items() if count}


def lost(lab: Lab, wire: Wire) -> dict[str, int]:
    """Send N frames to a container whose device has gone down: what became of them, by function.reason."""
    end = lab.target.endpoints[0].own
    with netns.entered(end.ns), IPRoute() as ip:
        ip.link("set", index=netns.index(end.device), state="down")
    with Freed([name for role, name in lab.names.items() if role != "wire"]) as freed:
        wire.send_windowed(N, lambda: sum(freed.read().values()))
        found = named(freed)
    with netns.entered(end.ns), IPRoute() as ip:
        ip.link("set", index=netns.index(end.device), state="up")
    return found


def test_the_stock_path_to_a_device_that_is_down(flannel: Lab) -> None:
    """What GRO has made of many packets is freed with all its parts, and counted once each."""
    with passing(flannel), Wire(flannel, Traffic(), NIC_CORE) as wire:
        for coalescing in ([], [Spec("gro-list")]):
            with Changes() as changes:
                stock.apply(flannel.target, Spec("none"), coalescing, NIC_CORE, changes)
                assert sum(lost(flannel, wire).values()) == N


def test_behind_our_delivery_there_is_a_name_for_it(flannel: Lab, units: Units) -> None:
    """`bpf_redirect_peer` frees them, and no counter of ours could tell."""
    with Wire(flannel, Traffic(), NIC_CORE) as wire, attached(flannel, "local", units) as datapath:
        [(name, count)] = lost(flannel, wire).items()
        assert name.startswith("skb_do_redirect.") and count == N
        assert (datapath.totals().drops, datapath.totals().delivered) == ({}, N)


def test_every_packet_of_a_run_is_explained() -> None:
    """Overload included: RPS at the NIC loses where the kernel says so, or nothing."""
    texts = ("flannel/rps", "docker/roundrobin+gro-list")
    variants = [Variant.parse(text) for text in texts]
    with Bed(variants, Traffic()) as bed:
        with Explainer(bed) as explainer:
            stocks, ours = (explainer.explain(each, 0.02) for each in variants)
        watched = {each.event: each for each in cost.watching(bed, variants[0], 0.02)}
    assert (stocks.unexplained, ours.unexplained) == (0, 0), (stocks, ours)
    assert stocks.delivered > 0 and stocks.segments_per_skb == 1
    assert ours.segments_per_skb and ours.segments_per_skb > 1
    assert watched["kfree_skb"].events >= 1 and not watched["kfree_skb"].every_run
    assert watched["softirq_entry"].events > 0 and watched["softirq_entry"].every_run
    assert watched["end"].ns is not None
