"""What is being done, told to a person who waits for it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Note = Callable[[str], None]
"""Told, in a short line, what is being done."""


@contextmanager
def noted() -> Iterator[Note]:
    """A line on stderr that changes with what is noted; nothing where that is no terminal."""
    from rich.console import Console
    from rich.text import Text

    # Once a second: what draws it takes time from a core that is measured.
    with Console(stderr=True).status("", refresh_per_second=1) as status:
        yield lambda text: status.update(Text(text))
