"""What a controller tells of itself: as plain data for JSON, and as text."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from steering import cores
from steering.datapath import Datapath
from steering.served import Served
from steering.unit import Totals


def of_totals(counted: Totals) -> dict[str, Any]:
    """All counters by name."""
    by_core = ("local", "sent", "lost", "done", "bulks", "numbered", "reordered")
    plain = {
        name: {str(core): count for core, count in counts.items()} if name in by_core else counts
        for name, counts in asdict(counted).items()
    }
    derived = {"delivered": counted.delivered, "passed": counted.passed, "drops": counted.drops}
    return {**plain, **derived}


def of_datapath(datapath: Datapath) -> dict[str, Any]:
    """What it is set to, and what each core has done and has to do."""
    totals, now = datapath.totals(), datapath.plan
    workers = {core: place + 1 for place, core in enumerate(now.workers)}
    queues, gro = datapath.unit.totals(), datapath.peer_by_core()
    local = {core for core, count in totals.local.items() if count}
    behind = {core for core, count in enumerate(gro["packets"]) if count}
    rows = []
    slots = {**dict.fromkeys(behind), **dict.fromkeys({*local, *totals.done}, 0), **workers}
    for core, slot in sorted(slots.items()):
        packets = totals.local.get(core, 0) + totals.done.get(core, 0)
        waiting = queues.sent.get(core, 0) - queues.lost.get(core, 0) - queues.done.get(core, 0)
        rows.append(
            {
                "core": core,
                "slot": slot,
                "packets": packets,
                "share": packets / totals.delivered if totals.delivered else 0.0,
                "local": totals.local.get(core, 0),
                "sent": totals.sent.get(core, 0),
                "done": totals.done.get(core, 0),
                "waiting": max(0, waiting),
                "lost": totals.lost.get(core, 0),
                "bulks": totals.bulks.get(core, 0),
                "skbs": int(gro["packets"][core]),
                "segments": int(gro["segments"][core]),
                "numbered": totals.numbered.get(core, 0),
                "reordered": totals.reordered.get(core, 0),
            }
        )
    settings = {"workers": list(now.workers), "queue": now.queue, "nice": now.nice}
    settings |= {"stack": cores.from_mask(f"{now.stack:x}") if now.stack else []}
    knobs = {"knobs": dict(now.knobs), "delivery": str(now.delivery)}
    counts = {
        name: {str(core): int(count) for core, count in enumerate(values) if count}
        for name, values in datapath.unit.policy_counts().items()
    }
    return {**settings, **knobs, "cores": rows, "policy_counts": counts, "counted": of_totals(totals)}


def of_served(overlay: Served) -> dict[str, Any]:
    """An overlay behind the NIC."""
    tunnel = overlay.tunnel
    return {
        "vni": overlay.key.vni,
        "served": tunnel is not None,
        "reason": overlay.reason,
        "bypassed": list(overlay.bypassed),
        "tunnel": asdict(tunnel) if tunnel else None,
        "lines": list(overlay.lines()),
    }


def slot_text(slot: int | None) -> str:
    """Of a core's row; None: it is no slot, and has what others hand on after GRO."""
    return "stack" if slot is None else str(slot or "local")


def mode(xdp: str) -> str:
    """What must be said wherever an attachment is shown: nothing of ``native`` XDP."""
    return " by generic XDP (slow)" if xdp == "generic" else ""


def totals_text(counted: Mapping[str, Any]) -> Iterator[str]:
    """Of :func:`of_totals`, a line each."""
    yield (
        f"{counted['steer']['seen']} frames: {counted['delivered']} delivered, "
        f"{counted['passed']} took the stock path"
    )
    for core, count in counted["local"].items():
        if count:
            yield f"  core {core}: {count} on which they came"
    for core, count in counted["done"].items():
        yield f"  core {core}: {count} as a worker"
    yield from _lost(counted)


def status_text(status: Mapping[str, Any]) -> Iterator[str]:
    """Of what a controller answers, a line each."""
    counted = status["counted"]
    workers = cores.form(sorted(status["workers"])) or "none"
    stack = f", after GRO {cores.form(status['stack'])}" if status["stack"] else ""
    yield (
        f"{status['device']} of {status['namespace']}: {status['policy']}{mode(status['xdp'])}, "
        f"workers on cores {workers}{stack}, process {status['pid']} since {status['since']}"
    )
    for each in status["serving"]:
        yield from (f"  {line}" for line in each["lines"])
    yield (
        f"  {counted['steer']['seen']} frames: {counted['delivered']} delivered, "
        f"{counted['passed']} took the stock path"
    )
    for name, count in counted["steer"].items():
        if count and name.startswith(("pass_", "refused_")):
            yield f"    {name} {count}"
    if status["cores"]:
        yield f"  {'core':>6} {'slot':>5} {'packets':>12} {'share':>6} {'waiting':>8} {'lost':>8}"
    for row in status["cores"]:
        yield (
            f"  {row['core']:>6} {slot_text(row['slot']):>5} {row['packets']:>12} {row['share']:>6.1%} "
            f"{row['waiting']:>8} {row['lost']:>8}"
        )
    numbered, reordered = (sum(counted[name].values()) for name in ("numbered", "reordered"))
    if numbered:
        yield f"  order: of {numbered} packets watched, {reordered} came behind a later one of their flow"
    yield from _lost(counted)


def _lost(counted: Mapping[str, Any]) -> Iterator[str]:
    for stage, names in counted["drops"].items():
        for name, count in names.items():
            yield f"  lost: {stage} {name} {count}"
