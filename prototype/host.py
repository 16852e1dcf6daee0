"""What of this host stage costs depend on, under the names of the bench's fingerprint."""

import os
import platform
import re
from pathlib import Path
from typing import Any


def this_host() -> dict[str, Any]:
    """Machine, processor, kernel and cores."""
    return {
        "machine": platform.machine(),
        "cpu": _processor(),
        "kernel": platform.release(),
        "cores": sorted(os.sched_getaffinity(0)),
    }


def _processor() -> str:
    found = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    return found[1] if found else "unknown"
