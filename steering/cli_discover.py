"""``overspray discover``: the overlays that are already there."""

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add ``discover``."""
    app.command()(discover)


def discover(
    device: Annotated[
        str,
        typer.Argument(
            metavar="DEVICE", help="A NIC: show only what comes in through it. Left out: all overlays."
        ),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show the VXLAN overlays of this host, and the containers behind them.

    Looks into every network namespace, Docker's unlisted ones too; changes nothing. Needs root.
    """
    from steering import discover as finding
    from steering import inventory_text
    from steering.chosen import choose

    found = finding.discover()
    nic = choose(found, device) if device else None
    if as_json:
        import json

        print(json.dumps(inventory_text.as_dict(found, nic), indent=2))
    else:
        print(inventory_text.as_text(found, nic))
