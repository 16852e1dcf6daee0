"""The shelf as a table: of ``overspray policy list``, and of the docs.

``python -m bench.policy_table`` writes it into docs/policies.md anew.
"""

from pathlib import Path
from typing import Any

from steering.policy import Order, Policy
from steering.registry import find, names
from steering.spec import Spec

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "policies.md"
COMMAND = "python -m bench.policy_table"
BEST = "the best of these for a traffic: a sweep finds it, see overspray stock-best"
_BEGIN, _END = "<!-- shelf: ", "<!-- end of shelf -->"


def shelf() -> list[Policy]:
    """Our policies, by name."""
    return [find(Spec.parse(name)) for name in names()]


def rows() -> list[dict[str, Any]]:
    """Stock steering and ours in one list. Stock picks a core once per flow: its order is kept."""
    from steering.stock import STEERING

    stock = {each.name: each.summary for each in STEERING.values()} | {"stock-best": BEST}
    return [
        *(_row("stock", name, Order.STRICT, text, []) for name, text in stock.items()),
        *(
            _row("ours", each.name, each.order, each.summary, sorted(each.needs))
            for each in shelf()
        ),
    ]


def _row(kind: str, name: str, order: Order, summary: str, needs: list[Any]) -> dict[str, Any]:
    needed = [str(need) for need in needs]
    return {"kind": kind, "name": name, "order": str(order), "summary": summary, "needs": needed}


def markdown() -> str:
    """The table of the docs."""
    lines = ["| policy | order | good | drowns |", "| --- | --- | --- | --- |"]
    for each in shelf():
        name = f"[`{each.name}`](../steering/policies/{each.name}/policy.h)"
        cells = (name, str(each.order), each.good, each.drowns)
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def with_table(document: str) -> str:
    """The document with the table as it is now, between its two marks."""
    before, begin, rest = document.partition(_BEGIN)
    mark, _, old = rest.partition("\n")
    _, end, after = old.partition(_END)
    if not begin or not end:
        raise ValueError(f"the marks '{_BEGIN}…' and '{_END}' are gone from the document")
    return f"{before}{begin}{mark}\n\n{markdown()}\n{end}{after}"


def main() -> None:
    """Write it."""
    DOCUMENT.write_text(with_table(DOCUMENT.read_text()))


if __name__ == "__main__":
    main()
