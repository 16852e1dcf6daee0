"""What is compared: ``CASE/STEERING[:…][+COALESCING[:…]]…``, the same text everywhere."""

import re
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal, Self

from steering.errors import BadInput, unknown
from steering.spec import Spec

CASES = ("native", "linux", "docker", "flannel")
DEFAULT_CASE = "docker"
STOCK_STEERING = ("none", "rss", "rps", "rps-vxlan", "rps-veth", "rfs", "stock-best")
FORM = "[CASE/]STEERING[:KEY=VALUE,…][+COALESCING[:KEY=VALUE,…]]…"

Family = Literal["native", "stock", "ours"]

# A path (`@…/…`) or a value is not taken for a case: those start with '@' or hold a ':'.
_CASE = re.compile(r"([^/@:+]*)/(.*)", re.DOTALL)


@dataclass(frozen=True)
class Variant:
    """A receive path with its steering and coalescing; no coalescing means the kernel's own."""

    case: str
    steering: Spec
    coalescing: tuple[Spec, ...] = ()

    def __post_init__(self) -> None:
        if self.case not in CASES:
            raise unknown("case", self.case, CASES)
        names = [part.name for part in self.coalescing]
        for name in names:
            if names.count(name) > 1:
                raise BadInput(f"'+{name}' stands twice in '{self}'")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a variant; the case is ``docker`` when left out.

        Raises:
            BadInput: unknown case, or text of another form.
        """
        found = _CASE.fullmatch(text.strip())
        case, rest = found.groups() if found else (DEFAULT_CASE, text.strip())
        steering, *coalescing = rest.split("+")
        if not steering or not all(coalescing):
            raise BadInput(f"'{text}' is no variant: write {FORM}")
        return cls(case, Spec.parse(steering), tuple(map(Spec.parse, coalescing)))

    @property
    def family(self) -> Family:
        """``native`` (no overlay), ``stock`` (what Linux offers) or ``ours``: a plot's colour."""
        if self.steering.name not in STOCK_STEERING:
            return "ours"
        return "native" if self.case == "native" else "stock"

    @property
    def label(self) -> str:
        """Short text for plots that name the case elsewhere: ``backlog cell=64 +gro-list``."""
        return " +".join(map(_label, (self.steering, *self.coalescing)))

    def __str__(self) -> str:
        return f"{self.case}/{'+'.join(map(str, (self.steering, *self.coalescing)))}"


def _label(spec: Spec) -> str:
    name = "@" + PurePath(spec.path).name if spec.path else spec.name
    return " ".join([name, *(f"{key}={value}" for key, value in sorted(spec.args.items()))])
