"""What is wrong with a policy: lines for a person, each with file and line where there is one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steering.errors import BadInput


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong."""

    what: str
    file: Path | None = None
    line: int | None = None

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.line else f"{self.file}: " if self.file else ""
        return place + self.what

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"file": str(self.file) if self.file else None, "line": self.line, "what": self.what}


class Faulty(BadInput):
    """A policy that cannot be used as it is: all that is known to be wrong with it."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        more = f" (and {len(problems) - 1} more: type 'overspray policy check')" if len(problems) > 1 else ""
        super().__init__(f"{problems[0]}{more}")
