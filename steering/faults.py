"""What is wrong with a policy's source: each fault with its file and line."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong. ``line`` counts from 1; 0: the whole file."""

    file: str
    line: int
    what: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.what}"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"file": self.file, "line": self.line, "what": self.what}


def line_of(path: Path, words: str) -> int:
    """The first line that has ``words`` in it, else 1."""
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        if words in line:
            return number
    return 1
