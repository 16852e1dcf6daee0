"""Sub-commands of the package steering; heavy imports stand inside them, so that --help is quick."""

import typer

from steering import cli_attach, cli_attached, cli_discover, cli_doctor, cli_top


def register(app: typer.Typer) -> None:
    """Add this package's sub-commands."""
    cli_doctor.register(app)
    cli_discover.register(app)
    cli_attach.register(app)
    cli_attached.register(app)
    cli_top.register(app)
