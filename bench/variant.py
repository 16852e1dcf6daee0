"""What is compared: ``[CASE/]STEERING[:KNOB=VALUE,…][+COALESCING…]``, the same text everywhere."""

import re
from dataclasses import dataclass, field
from typing import Self

from bench.lab_plan import CASES, WITH_CONTAINERS
from steering import plan, policy, stock
from steering.errors import BadInput, unknown
from steering.spec import Spec

PATHS = {"native": stock.PATH[:1], "linux": stock.PATH[:2], **dict.fromkeys(WITH_CONTAINERS, stock.PATH)}
"""The devices on each case's receive path."""
DEFAULT_CASE = "docker"
STOCK_BEST = "stock-best"
"""In place of a steering: what a saved sweep found best (`bench.best_file`)."""
FORM = "[CASE/]STEERING[:KNOB=VALUE,…][+COALESCING…]"

_ROWS = {"udp-forward": "UDP forwarding", "defer": "NAPI deferral", "threaded": "threaded NAPI"}
"""What coalescing asks of the kernel, as rows of the doctor."""
# A path (`@…/…`) or a value is not taken for a case: those start with '@' or hold a ':'.
_CASE = re.compile(r"([^/@:+]*)/(.*)", re.S)


@dataclass(frozen=True)
class Origin:
    """The sweep that a variant is from."""

    text: str
    """How it was named."""
    file: str
    warnings: tuple[str, ...] = ()
    """Why it may not be the best here."""


@dataclass(frozen=True)
class Variant:
    """A receive path with its steering and coalescing; without coalescing GRO is off at the NIC."""

    case: str
    steering: Spec
    coalescing: tuple[Spec, ...] = ()
    origin: Origin | None = field(default=None, compare=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a variant; the case is ``docker`` when left out. BadInput: no such case, or no such form."""
        found = _CASE.fullmatch(text.strip())
        case, rest = found.groups() if found else (DEFAULT_CASE, text.strip())
        if case not in CASES:
            raise unknown("case", case, CASES)
        steering, *coalescing = rest.split("+")
        if not steering or not all(coalescing):
            raise BadInput(f"'{text}' is no variant: write {FORM}")
        specs = tuple(map(Spec.parse, coalescing))
        if len({spec.name for spec in specs}) < len(specs):
            raise BadInput(f"'{text}' names a coalescing twice")
        return cls(case, Spec.parse(steering), specs)

    @property
    def is_stand_in(self) -> bool:
        """Whether it stands for what a saved sweep found (`bench.best_file.resolved`)."""
        return self.steering.name == STOCK_BEST

    @property
    def is_stock(self) -> bool:
        """Whether Linux itself steers."""
        return self.steering.name in stock.STEERING

    @property
    def stock_steering(self) -> Spec | None:
        """What Linux is to do; None where a policy of ours does."""
        return self.steering if self.is_stock else None

    @property
    def needs(self) -> tuple[str, ...]:
        """What the doctor must find for it, beside what the wire needs."""
        rows = [_ROWS[spec.name] for spec in self.coalescing if spec.name in _ROWS]
        if self.is_stock:
            kind = self.steering.name.partition("-")[0].upper()
            return (*((kind,) if kind in ("RPS", "RFS") else ()), *rows)
        delivered = () if self.steering.args.get("deliver") == plan.Delivery.VETH else ("tc links",)
        handed_on = ("RPS",) if "stack" in self.steering.args else ()
        return ("cpumap programs", *delivered, *handed_on, *rows)

    def check(self, nic_core: int) -> None:
        """BadInput where it can't be put into effect: unknown name, knob, value or core; changes nothing."""
        if self.is_stand_in:
            raise BadInput(f"'{self}' is not looked up here: name the variant that it stands for")
        stock.check(self.stock_steering, self.coalescing, nic_core, PATHS[self.case])
        if self.is_stock:
            return
        if not self.steering.path and self.steering.name not in policy.names():
            raise unknown("steering", self.steering.name, [*stock.STEERING, *policy.names()])
        plan.read(self.steering, nic_core)
        if self.case not in WITH_CONTAINERS:
            raise BadInput(f"'{self}': policies deliver into containers: choose case flannel or docker")

    def __str__(self) -> str:
        return f"{self.case}/{'+'.join(map(str, (self.steering, *self.coalescing)))}"
