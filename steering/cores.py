"""Which cores there are, and which of them this process may use. A core's id is no index: ids have gaps."""

import functools
import os
from pathlib import Path

from steering.errors import BadInput

_CPU = Path("/sys/devices/system/cpu")


def parse(text: str) -> list[int]:
    """``[0, 2, 3]`` of ``0,2-3``, the kernel's form of a list; BadInput where it is none."""
    found: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise BadInput(f"'{text.strip()}' is no list of cores: write it as 0,2-3")
        found.update(range(int(first), int(last or first) + 1))
    return sorted(found)


def form(cores: list[int]) -> str:
    """``0,2-3`` of ``[0, 2, 3]``."""
    parts: list[str] = []
    start = 0
    for at, core in enumerate(cores):
        if at + 1 == len(cores) or cores[at + 1] != core + 1:
            parts.append(f"{core}" if start == at else f"{cores[start]}-{core}")
            start = at + 1
    return ",".join(parts)


def from_mask(text: str, name: str = "mask") -> list[int]:
    """``[0, 2, 3]`` of ``d``, or of ``0xd``, lowest first; BadInput where it is no mask, or of no core.

    ``name`` is what it is called by those who wrote it.
    """
    try:
        mask = int(text, 16)
    except ValueError:
        mask = 0
    if mask <= 0:
        raise BadInput(f"{name}={text}: write cores as a hexadecimal mask of at least one, as in 0x6 for 1-2")
    return [core for core in range(mask.bit_length()) if mask >> core & 1]


@functools.cache
def possible() -> int:
    """How many values an element of a per-core map has: the highest possible id, plus one.

    The kernel settles it when it boots, and every reading of a counter asks: so it is read once.
    """
    return parse((_CPU / "possible").read_text())[-1] + 1


def online() -> list[int]:
    """The cores that run."""
    return parse((_CPU / "online").read_text())


def usable() -> list[int]:
    """The cores that run and that this process may use (taskset, cpusets)."""
    return sorted(os.sched_getaffinity(0) & set(online()))


def require_usable(core: int) -> None:
    """BadInput where a core does not run, or is not allowed here."""
    if core not in usable():
        raise BadInput(f"core {core} is not to be used here: choose from {form(usable())}")
