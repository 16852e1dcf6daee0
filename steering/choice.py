"""What a person wants on a live host: ``POLICY[:KNOB=VALUE,…][+COALESCING…]``."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

from steering import cores, plan, stock
from steering.errors import BadInput
from steering.plan import Plan
from steering.spec import Spec

FORM = "POLICY[:KNOB=VALUE,…][+COALESCING…]"


@dataclass(frozen=True)
class Choice:
    """A policy of ours, and how the NIC is to coalesce; without that it does as it was found."""

    policy: Spec
    coalescing: tuple[Spec, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read it; BadInput: not of that form. Whether there is such a policy :meth:`plan` says."""
        policy, *rest = text.strip().split("+")
        if not policy or not all(rest):
            raise BadInput(f"'{text}' is no policy: write {FORM}")
        return cls(Spec.parse(policy).at_home(), tuple(map(Spec.parse, rest)))

    def having(self, knobs: Mapping[str, str]) -> Self:
        """The same policy with these knobs."""
        return replace(self, policy=Spec(self.policy.name, {**self.policy.args, **knobs}))

    def plan(self) -> Plan:
        """What the datapath is to do. Workers are, without a mask, all cores but the first.

        BadInput: no such policy, coalescing, knob, value or core.
        """
        first = cores.usable()[0]
        stock.check(None, self.coalescing, first)
        return plan.read(self.policy, first)

    def __str__(self) -> str:
        return "+".join(map(str, (self.policy, *self.coalescing)))
