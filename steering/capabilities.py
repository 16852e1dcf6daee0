"""The capabilities of this thread, against what a job needs: none asks for more than that.

``CAP_BPF`` and ``CAP_PERFMON`` are not among them: ``CAP_SYS_ADMIN``, without which no namespace
can be entered, contains both.
"""

from collections.abc import Iterable
from pathlib import Path

from steering.errors import OversprayError

NUMBERS = {
    "CAP_DAC_OVERRIDE": 1,
    "CAP_DAC_READ_SEARCH": 2,
    "CAP_NET_ADMIN": 12,
    "CAP_SYS_PTRACE": 19,
    "CAP_SYS_ADMIN": 21,
    "CAP_SYS_NICE": 23,
}
"""Of linux/capability.h, which never renumbers them."""
CHANGING = ("CAP_NET_ADMIN", "CAP_SYS_ADMIN")
"""For whatever is changed: devices and programs, in any namespace."""
ATTACHING = (*CHANGING, "CAP_SYS_PTRACE")
"""The last one: for namespaces that only a process of somebody else leads to."""


def lacking(names: Iterable[str]) -> list[str]:
    """Those of the names that this thread does not have."""
    status = Path("/proc/thread-self/status").read_text()
    effective = int(status.split("CapEff:")[1].split()[0], 16)
    return [name for name in names if not effective >> NUMBERS[name] & 1]


def require(what: str, *names: str) -> None:
    """OversprayError where one of the capabilities is missing."""
    if missing := lacking(names):
        raise OversprayError(
            f"{what} needs {' and '.join(missing)}: type it with sudo, or add that to the unit's "
            f"AmbientCapabilities= (docs/attach.md)"
        )
