"""Whose something is that outlives its maker: a process, told from every other one that ever was.

A process id is used again, so the start time goes with it; and in a container the same id is another process,
so the pid namespace does too.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

PATTERN = r"(?P<pid>\d+)-(?P<start>\d+)-(?P<space>[0-9a-f]+)"
"""An owner in a name: read with :meth:`Owner.of`."""


@dataclass(frozen=True)
class Owner:
    """One process; as text ``PID-START-SPACE``."""

    pid: int
    start: int
    """Ticks from boot."""
    space: int
    """Inode of the pid namespace that the id is of."""

    @classmethod
    def me(cls) -> Self:
        """This process."""
        pid = int(Path("/proc/self").readlink().name)  # as /proc counts, which others will look into
        return cls(pid, start_of(pid) or 0, _space())

    @classmethod
    def of(cls, found: re.Match[str]) -> Self:
        """The owner in a name that PATTERN matched."""
        return cls(int(found["pid"]), int(found["start"]), int(found["space"], 16))

    def __str__(self) -> str:
        return f"{self.pid}-{self.start}-{self.space:x}"

    @property
    def is_dead(self) -> bool:
        """Whether it has surely ended."""
        return self.is_visible and start_of(self.pid) != self.start

    @property
    def is_visible(self) -> bool:
        """Whether anything is known of it: nothing is, in another pid namespace."""
        return self.space == _space()


def start_of(pid: int) -> int | None:
    """Ticks from boot to the process's start; None where it is dead, also if nobody waited for it yet."""
    try:
        # The name, in brackets, may hold anything: count from behind it (proc(5)).
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def _space() -> int:
    return Path("/proc/self/ns/pid").stat().st_ino
