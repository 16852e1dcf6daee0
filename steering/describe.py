"""What is attached, as plain values: what a controller answers, and ``--json`` prints."""

from collections.abc import Iterator, Mapping
from typing import Any

from steering.compile import counter_names
from steering.datapath import Datapath
from steering.layout import header
from steering.overlay import Endpoint, Overlay, Tunnel
from steering.plan import Plan
from steering.registry import SHELF
from steering.routes import Route
from steering.sampled import policy_counts
from steering.status_text import endpoint_line, tunnel_line
from steering.unit import Totals

_STAGES = ("steer", "deliver", "peer", "back")


def plan_facts(plan: Plan) -> dict[str, Any]:
    """The policy with its knobs, as one would type it, and the datapath's own settings."""
    policy = plan.policy
    name = policy.name if policy.folder.parent == SHELF else f"@{policy.folder}"
    knobs = ",".join(f"{knob}={value}" for knob, value in plan.knobs.items())
    return {
        "policy": f"{name}:{knobs}" if knobs else name,
        "knobs": dict(plan.knobs),
        "delivery": plan.delivery.value,
        "queue": plan.queue,
        "nice": plan.nice,
        "shield": plan.shield,
        "back": plan.back,
        "rps": plan.rps,
        "cells": plan.cells,
        "gro": plan.gro,
    }


def worker_facts(datapath: Datapath) -> list[dict[str, int]]:
    """One entry a slot from 1 on: its core, frames sent there, lost, taken out and waiting."""
    found = []
    for slot, row in enumerate(datapath.unit.workers(), 1):
        facts = {name: int(row[name]) for name in ("core", "sent", "lost", "done")}
        # The counters are written meanwhile: a moment's negative difference is nothing.
        waiting = max(0, facts["sent"] - facts["lost"] - facts["done"])
        found.append({"slot": slot, **facts, "backlog": waiting})
    return found


def counter_facts(totals: Totals) -> dict[str, dict[str, dict[str, Any]]]:
    """Every counter of every stage, with what it means."""
    meanings = header("counters.h").descriptions
    counted: dict[str, Mapping[str, int]] = {name: getattr(totals, name) for name in _STAGES}
    return {
        stage: {
            name: {
                "count": counted[stage].get(name, 0),
                "meaning": meanings[f"{stage}_{name}".upper()],
            }
            for name in counter_names(f"{stage}_counter")
        }
        for stage in _STAGES
    }


def policy_facts(datapath: Datapath) -> dict[str, dict[str, Any]]:
    """What the policy counts itself, since it was put in place."""
    rows = policy_counts(datapath)
    return {
        name: {"count": sum(row[name] for row in rows), "meaning": meaning}
        for name, meaning in datapath.plan.policy.counters.items()
    }


def reasons(totals: Totals) -> dict[str, dict[str, int]]:
    """``passed`` to the stock path and ``dropped``, by reason; what did not occur is left out."""
    passed = {
        name: count
        for name, count in totals.steer.items()
        if count and name.startswith(("pass_", "refused_"))
    }
    dropped = {
        name: count
        for stage in (totals.steer, totals.deliver)
        for name, count in stage.items()
        if count and name.startswith("drop_")
    }
    if totals.lost:
        dropped["worker_queue_full"] = totals.lost
    return {"passed": passed, "dropped": dropped}


def tunnel_facts(tunnel: Tunnel) -> dict[str, Any]:
    """A tunnel: what may come through it, and where its device is."""
    return {
        "vni": tunnel.vni,
        "port": tunnel.port,
        "local": tunnel.local,
        "remotes": sorted(tunnel.remotes),
        "device": tunnel.device,
        "namespace": str(tunnel.ns),
    }


def endpoint_facts(end: Endpoint, route: Route | None = None) -> dict[str, Any]:
    """A container: its MAC behind a VNI, its addresses, where it is; served, its number."""
    numbered = {} if route is None else {"number": route.number}
    return numbered | {
        "vni": end.vni,
        "mac": end.mac,
        "ips": sorted(end.ips),
        "device": end.device,
        "namespace": str(end.ns),
    }


def differences(old: Overlay, new: Overlay) -> Iterator[str]:
    """What changed between two snapshots, a line each."""
    before = {(each.vni, each.port, each.ns): each for each in old.tunnels}
    after = {(each.vni, each.port, each.ns): each for each in new.tunnels}
    for key in before.keys() - after.keys():
        yield f"no more: tunnel {tunnel_line(tunnel_facts(before[key]))}"
    for key, tunnel in after.items():
        if key not in before:
            yield f"served: tunnel {tunnel_line(tunnel_facts(tunnel))}"
            continue
        for verb, some in (
            ("now also from", tunnel.remotes - before[key].remotes),
            ("no more from", before[key].remotes - tunnel.remotes),
        ):
            if some:
                yield f"VNI {tunnel.vni}: {verb} {', '.join(sorted(some))}"
    for end in sorted(old.endpoints - new.endpoints, key=lambda end: end.mac):
        yield f"no more: {endpoint_line(endpoint_facts(end))}"
    for end in sorted(new.endpoints - old.endpoints, key=lambda end: end.mac):
        yield f"served: {endpoint_line(endpoint_facts(end))}"
