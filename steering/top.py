"""What attached policies do right now: the difference of two statuses, as data and as tables."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from steering.status import mode, slot_text

if TYPE_CHECKING:
    from rich.console import RenderableType

Status = Mapping[str, Any]
"""What `overspray status --json` has of one NIC."""


def between(before: Status, now: Status, seconds: float) -> dict[str, Any]:
    """Rates a second, by core and by name, of what a NIC's policy did meanwhile; ``waiting`` is of now.

    A core has ``bulk``, frames that its worker took out of its queue at once, and ``merged``, frames in a
    packet after GRO; None where there were none. ``reordered`` is a share of the packets that were
    watched: those that came to their delivery, before GRO, behind a later one of their flow; None likewise.
    """
    old = {row["core"]: row for row in before["cores"]}
    rows = [_core(old.get(row["core"], {}), row, seconds) for row in now["cores"]]
    packets = sum(row["packets"] for row in rows)
    for row in rows:
        row["share"] = row["packets"] / packets if packets else 0.0
    counted, first = now["counted"], before["counted"]
    return {
        **{key: now[key] for key in ("device", "namespace", "policy", "xdp")},
        "seen": (counted["steer"]["seen"] - first["steer"]["seen"]) / seconds,
        "delivered": (counted["delivered"] - first["delivered"]) / seconds,
        "passed": (counted["passed"] - first["passed"]) / seconds,
        "cores": rows,
        "drops": {
            stage: {
                name: (n - first["drops"].get(stage, {}).get(name, 0)) / seconds for name, n in names.items()
            }
            for stage, names in counted["drops"].items()
        },
        "policy_counts": {
            name: (sum(cores.values()) - sum(before["policy_counts"].get(name, {}).values())) / seconds
            for name, cores in now["policy_counts"].items()
            if now["policy"] == before["policy"]
        },
    }


def _core(old: Mapping[str, int], now: Mapping[str, int], seconds: float) -> dict[str, Any]:
    def gained(name: str) -> int:
        return max(0, now[name] - old.get(name, 0))

    return {
        "core": now["core"],
        "slot": now["slot"],
        "packets": gained("packets") / seconds,
        "waiting": now["waiting"],
        "lost": gained("lost") / seconds,
        "bulk": gained("done") / gained("bulks") if gained("bulks") else None,
        "merged": gained("segments") / gained("skbs") if gained("skbs") else None,
        "reordered": gained("reordered") / gained("numbered") if gained("numbered") else None,
    }


def tables(found: Sequence[Mapping[str, Any]]) -> "Iterator[RenderableType]":
    """For the terminal: for each NIC a line, a table of its cores, and what was lost or counted."""
    from rich.table import Table
    from rich.text import Text

    for each in found:
        yield Text(f"{each['device']} of {each['namespace']}: {each['policy']}{mode(each['xdp'])}")
        names = ("core", "slot", "packets/s", "share", "waiting", "lost/s", "a bulk", "an skb", "reordered")
        table = Table(*names, box=None)
        for column in table.columns:
            column.justify = "right"
        for row in each["cores"]:
            table.add_row(
                str(row["core"]),
                slot_text(row["slot"]),
                f"{row['packets']:,.0f}",
                f"{row['share']:.1%}",
                str(row["waiting"]),
                f"{row['lost']:,.0f}",
                *("-" if row[name] is None else f"{row[name]:.1f}" for name in ("bulk", "merged")),
                "-" if row["reordered"] is None else f"{row['reordered']:.2%}",
            )
        yield table
        yield Text(f"delivered {each['delivered']:,.0f}/s, stock path {each['passed']:,.0f}/s")
        lost = [
            f"{stage} {name} {n:,.0f}/s"
            for stage, names in each["drops"].items()
            for name, n in names.items()
        ]
        if lost:
            yield Text(f"lost: {', '.join(lost)}")
        if each["policy_counts"]:
            counts = (f"{name} {n:,.0f}/s" for name, n in each["policy_counts"].items())
            yield Text(f"the policy counts: {', '.join(counts)}")
