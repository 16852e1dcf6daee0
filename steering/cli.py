"""Sub-commands of the package steering: see its modules ``cli_TOPIC.py``."""

import typer

from steering.commands import join


def register(app: typer.Typer) -> None:
    """Add this package's sub-commands."""
    join(app, "steering")
