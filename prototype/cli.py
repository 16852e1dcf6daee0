"""Sub-commands of the package prototype: see its modules ``cli_TOPIC.py``."""

import typer

from steering.commands import join


def register(app: typer.Typer) -> None:
    """Add this package's sub-commands."""
    join(app, "prototype")


def twin(app: typer.Typer) -> typer.Typer:
    """The group ``twin``, made when first asked for: modules of several packages add to it."""
    for group in app.registered_groups:
        if group.name == "twin" and group.typer_instance:
            return group.typer_instance
    made = typer.Typer(help="The same packet path in user space.", no_args_is_help=True)
    app.add_typer(made, name="twin")
    return made
