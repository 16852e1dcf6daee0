"""What must stay as it is in a soak: the controller's memory and files, and the kernel's peace."""

import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from steering.closing import Closing
from steering.errors import OversprayError

_KERNEL_LOG = Path("/dev/kmsg")
_TROUBLE = re.compile(
    r"WARNING:|BUG:|Oops|general protection|hung_task|blocked for more than|"
    r"unregister_netdevice: waiting|refcount|soft lockup|rcu.*stall|Call Trace"
)
_LONGEST = 8192


@dataclass(frozen=True)
class Memory:
    """A process's, in bytes."""

    resident: int
    maps: int
    """What the kernel has charged for its BPF maps."""
    files: int

    @classmethod
    def of(cls, pid: int) -> "Memory":
        """As it is now. OSError: no such process."""
        status = Path(f"/proc/{pid}/status").read_text()
        resident = int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) << 10
        maps: dict[str, int] = {}
        files = list(Path(f"/proc/{pid}/fdinfo").iterdir())
        for path in files:
            try:
                text = path.read_text()
            except OSError:  # closed meanwhile
                continue
            if found := re.search(r"memlock:\s+(\d+)\nmap_id:\s+(\d+)", text):
                maps[found[2]] = int(found[1])
        return cls(resident, sum(maps.values()), len(files))

    def as_dict(self) -> dict[str, int]:
        """For JSON."""
        return asdict(self)


def growth(samples: Sequence[Memory]) -> dict[str, Any]:
    """First and last third of the samples: their medians."""
    third = max(1, len(samples) // 3)
    return {
        name: {
            "first": int(median(getattr(each, name) for each in samples[:third])),
            "last": int(median(getattr(each, name) for each in samples[-third:])),
        }
        for name in ("resident", "maps", "files")
        if samples
    }


class KernelLog(Closing):
    """Lines of trouble in the kernel's log since construction. A context manager.

    Raises:
        OversprayError: it can't be read, and nobody could say that the kernel did not complain.
    """

    def __init__(self, path: Path = _KERNEL_LOG) -> None:
        try:
            self._handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise OversprayError(
                f"read the kernel's log '{path}': {error.strerror}: run it where that can be read"
            ) from None
        os.lseek(self._handle, 0, os.SEEK_END)
        self.trouble: list[str] = []

    def read(self) -> list[str]:
        """All so far."""
        while True:
            try:
                record = os.read(self._handle, _LONGEST).decode(errors="replace")
            except BlockingIOError:
                break
            except BrokenPipeError:
                self.trouble.append("lines were overwritten before they were read")
                continue
            line = record.partition(";")[2].partition("\n")[0]
            if _TROUBLE.search(line):
                self.trouble.append(line)
        return self.trouble

    def close(self) -> None:
        """Stop reading."""
        os.close(self._handle)
