"""What a steering policy is in Python: its knobs, the order it promises, when it is good.

The decision itself is C and stands in ``policy.h`` beside the policy's ``policy.py``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from pathlib import Path

from steering.errors import BadInput, unknown

VERSION = 1
"""Of the contract; the same number as POLICY_VERSION in xdp/include/policy.h."""


class Order(StrEnum):
    """The order of one flow's packets that a policy promises."""

    STRICT = "strict"
    """As they came."""
    CELL = "cell"
    """As they came inside a cell; cells may overtake each other."""
    UNORDERED = "unordered"
    """Any."""


class Need(StrEnum):
    """What a policy must declare before it may know it, for it costs something."""

    TIME = "time"
    """``packet->now``: a clock is read for every packet, 20 ns."""
    CLEAR = "clear"
    """``packet->clear``: paths are followed to their end; delivery ``peer`` only."""
    PRESSURE = "pressure"
    """``packet->pressed``: every receive poll is looked at."""
    YIELDS = "yields"
    """``worker->yielded``: every change of threads on a worker's core is looked at."""


@dataclass(frozen=True)
class Knob:
    """One setting of a policy: a 32-bit unsigned number."""

    default: int
    low: int
    high: int
    unit: str
    help: str

    def read(self, name: str, text: str) -> int:
        """The value that a person wrote.

        Raises:
            BadInput: not a number (decimal or 0x…), or out of range.
        """
        try:
            value = int(text, 0)
        except ValueError:
            raise BadInput(f"{name}={text}: a number in {self.unit} is wanted") from None
        if not self.low <= value <= self.high:
            raise BadInput(f"{name}={value} is out of range: {self.low} to {self.high} {self.unit}")
        return value


@dataclass(frozen=True)
class Policy:
    """The Python half of a policy."""

    summary: str
    order: Order
    knobs: Mapping[str, Knob]
    good: str
    drowns: str
    needs: frozenset[Need] = frozenset()
    counters: Mapping[str, str] = field(default_factory=dict)
    """Names of what it counts itself, lower case, and what they mean; see ``policy.h``."""
    nice: int = 0
    """Of the workers' threads, unless the knob ``nice`` says otherwise."""
    rps: bool = False
    """What stays on the NIC's core is handed on after GRO, unless the knob ``rps`` says not."""
    version: int = VERSION
    name: str = ""
    folder: Path = field(default=Path())

    @property
    def header(self) -> Path:
        """The C half."""
        return self.folder / "policy.h"

    @property
    def digest(self) -> str:
        """Of the C half and the knobs: another one means that it is to be compiled anew."""
        texts = [path.read_bytes() for path in sorted(self.folder.glob("*.h"))]
        return sha256(b"\0".join([*texts, self.knobs_header().encode()])).hexdigest()[:16]

    def values(self, args: Mapping[str, str]) -> dict[str, int]:
        """Every knob's value: what was written, else the default.

        Raises:
            BadInput: a knob that the policy does not have, or a value out of range.
        """
        return read_knobs(f"policy '{self.name}'", self.knobs, args)

    def knobs_header(self) -> str:
        """The text of ``knobs.h``: struct knobs, one 32-bit member a knob; needs and counters."""
        members = [f"\t__u32 {name}; /* {knob.unit} */" for name, knob in self.knobs.items()]
        counts = [f"\tCOUNT_{name.upper()}, /* {what} */" for name, what in self.counters.items()]
        enum = ["enum policy_counter {", *counts, "\tPOLICY_COUNTERS", "};"] if counts else []
        return "\n".join(
            [
                *(f"#define POLICY_NEEDS_{need.name} {int(need in self.needs)}" for need in Need),
                *enum,
                "struct knobs {",
                *(members or ["\t__u32 none;"]),
                "};",
                "",
            ]
        )


def read_knobs(owner: str, knobs: Mapping[str, Knob], args: Mapping[str, str]) -> dict[str, int]:
    """Values for all ``knobs``; BadInput names the ``owner`` and what it has instead."""
    for key in args:
        if key not in knobs:
            raise unknown(f"knob of {owner}", key, knobs or ["none"])
    return {
        key: knob.read(key, args[key]) if key in args else knob.default
        for key, knob in knobs.items()
    }
