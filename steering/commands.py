"""How sub-commands join: every module ``PACKAGE/cli_TOPIC.py`` exports ``register(app)``."""

import importlib
import pkgutil

import typer


def join(app: typer.Typer, package: str) -> None:
    """Let each ``cli_*`` module of ``package`` add its sub-commands, in the modules' order.

    Those modules are imported by every call of ``overspray``: what they need beyond typer is
    imported inside their commands.
    """
    paths = importlib.import_module(package).__path__
    for name in sorted(module.name for module in pkgutil.iter_modules(paths)):
        if name.startswith("cli_"):
            importlib.import_module(f"{package}.{name}").register(app)
