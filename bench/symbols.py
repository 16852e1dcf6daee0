"""Which of the kernel's functions an address is in."""

from bisect import bisect_right
from pathlib import Path


class Symbols:
    """The functions of a text that has the form of /proc/kallsyms."""

    def __init__(self, text: str) -> None:
        rows = sorted((int(line.split(None, 1)[0], 16), line.split()[2]) for line in text.splitlines())
        self._starts, self._names = [0, *(at for at, _ in rows)], ["?", *(name for _, name in rows)]

    def of(self, address: int) -> str:
        """The function that it is in; ``?`` before all of them."""
        return self._names[bisect_right(self._starts, address) - 1]


def running() -> Symbols:
    """The running kernel's, with the programs that are loaded now."""
    return Symbols(Path("/proc/kallsyms").read_text())
