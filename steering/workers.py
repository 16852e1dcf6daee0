"""The workers' threads: each entry of a cpumap has one, of the kernel's, on its core."""

import os
from contextlib import suppress
from pathlib import Path

from steering.errors import OversprayError


def threads(cpumap: int) -> dict[int, int]:
    """Core -> id of the thread, of the cpumap with that id. The kernel names them ``cpumap/CORE/map:ID``."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/comm"):
        with suppress(OSError):  # gone meanwhile
            name, _, number = path.read_text().strip().partition("/map:")
            if name.startswith("cpumap/") and number == str(cpumap):
                found[int(name.partition("/")[2])] = int(path.parent.name)
    return found


def renice(cpumap: int, cores: tuple[int, ...], nice: int) -> None:
    """Let them step back for applications on their cores, as nice(2) has it: 0 for not at all.

    Raises OversprayError where one is not to be found, or the kernel refuses.
    """
    found = threads(cpumap)
    try:
        for core in cores:
            os.setpriority(os.PRIO_PROCESS, found[core], nice)
    except KeyError as error:
        raise OversprayError(
            f"no thread of the worker on core {error} is to be found: leave nice=0"
        ) from None
    except OSError as error:
        raise OversprayError(f"nice={nice} for the workers' threads: {error.strerror}") from None
