"""What is attached, in words: lines for people, made from what a controller answers.

Imports nothing heavy: the commands that only ask a controller need no more than this.
"""

from collections.abc import Iterator, Mapping
from typing import Any

Facts = Mapping[str, Any]


def overview(where: str, status: Facts) -> Iterator[str]:
    """What is attached where, what it serves, what it skips."""
    yield f"{where}, process {status['pid']}: {_state(status)}"
    if not status["attached"]:
        return
    yield f"  policy   {status['policy']}"
    cores = ", ".join(str(worker["core"]) for worker in status["workers"])
    yield (
        f"  workers  cores {cores}; delivery {status['delivery']}, "
        f"queue {status['queue']}, nice {status['nice']}"
    )
    yield from _titled("tunnels", map(tunnel_line, status["tunnels"]), "none yet")
    yield from _titled("serves", map(endpoint_line, status["endpoints"]), "no container yet")
    yield from _titled("skips", status["bypassed"])
    yield from _titled("not", map(_not_served_line, status["not_served"]))


def counts(status: Facts) -> Iterator[str]:
    """What the workers have to do, and every counter that is not zero, with its meaning."""
    for worker in status["workers"]:
        yield (
            f"  worker {worker['slot']} on core {worker['core']}: {worker['backlog']} waiting, "
            f"{worker['sent']} sent, {worker['lost']} lost"
        )
    rows = [
        (f"{stage} {name}", str(each["count"]), each["meaning"])
        for stage, counters in status["counters"].items()
        for name, each in counters.items()
        if each["count"]
    ]
    widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    for name, count, meaning in rows:
        yield f"  {name.ljust(widths[0])}  {count.rjust(widths[1])}  {meaning}"


def tunnel_line(tunnel: Facts) -> str:
    """One tunnel, from :func:`steering.describe.tunnel_facts`."""
    peers = ", ".join(tunnel["remotes"]) or "no other host yet"
    where = f"{tunnel['device']} in '{tunnel['namespace']}'"
    return f"VNI {tunnel['vni']}, port {tunnel['port']}, {where}: from {peers}"


def endpoint_line(end: Facts) -> str:
    """One container, from :func:`steering.describe.endpoint_facts`."""
    ips = ", ".join(end["ips"]) or "no address yet"
    number = f"container {end['number']}: " if "number" in end else ""
    return (
        f"{number}{end['mac']} ({ips}), VNI {end['vni']}, {end['device']} in '{end['namespace']}'"
    )


def _not_served_line(one: Facts) -> str:
    what = endpoint_line(one) if "mac" in one else tunnel_line(one)
    return f"served: {what}: {one['reason']}"


def _state(status: Facts) -> str:
    if not status["attached"]:
        return "being attached or detached"
    return f"attached for {_span(status['uptime'])}"


def _span(seconds: float) -> str:
    whole = int(seconds)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (whole % 60, "s")]
    shown = [f"{count} {unit}" for count, unit in parts if count]
    return " ".join(shown[:2]) or "0 s"


def _titled(title: str, lines: "Iterator[str] | list[str]", none: str = "") -> Iterator[str]:
    """The lines, the first behind a title."""
    found = list(lines) or ([none] if none else [])
    for number, line in enumerate(found):
        yield f"  {title if not number else '':8} {line}"
