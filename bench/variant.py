"""What is compared: ``[CASE/]STEERING[:KNOB=VALUE,…][+COALESCING…]``, the same text everywhere."""

import re
from dataclasses import dataclass
from typing import Self

from bench.lab_plan import CASES, WITH_CONTAINERS
from steering import plan, policy, stock
from steering.errors import BadInput, unknown
from steering.spec import Spec

DEFAULT_CASE = "docker"
FORM = "[CASE/]STEERING[:KNOB=VALUE,…][+COALESCING…]"

# A path (`@…/…`) or a value is not taken for a case: those start with '@' or hold a ':'.
_CASE = re.compile(r"([^/@:+]*)/(.*)", re.S)


@dataclass(frozen=True)
class Variant:
    """A receive path with its steering and coalescing; without coalescing GRO is off at the NIC."""

    case: str
    steering: Spec
    coalescing: tuple[Spec, ...] = ()

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
        if len(set(coalescing)) < len(coalescing):
            raise BadInput(f"'{text}' names a coalescing twice")
        return cls(case, Spec.parse(steering), tuple(map(Spec.parse, coalescing)))

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
        if self.is_stock:
            return () if self.steering.name == "none" else ("RPS",)
        delivered = () if self.steering.args.get("deliver") == plan.Delivery.VETH else ("tc links",)
        return ("cpumap programs", *delivered)

    def check(self, nic_core: int) -> None:
        """BadInput where it can't be put into effect: unknown name, knob, value or core; changes nothing."""
        stock.check(self.stock_steering, self.coalescing, nic_core, has_tunnel=self.case != "native")
        if self.is_stock:
            return
        if not self.steering.path and self.steering.name not in policy.names():
            raise unknown("steering", self.steering.name, [*stock.STEERING, *policy.names()])
        plan.read(self.steering, nic_core)
        if self.case not in WITH_CONTAINERS:
            raise BadInput(f"'{self}': policies deliver into containers: choose case flannel or docker")

    def __str__(self) -> str:
        return f"{self.case}/{'+'.join(map(str, (self.steering, *self.coalescing)))}"
