"""What became of a variant's packets: a short run of its own, under observers that cost too much for a rate.

After the rounds, not in them: the sink's drops alone are an event more for every packet.
"""

from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from typing import Any

from bench.bed import Bed
from bench.freed import Freed
from bench.lab import Lab
from bench.losses import by_stage
from bench.run import measured
from bench.variant import Variant
from steering import bpf, doctor, netns
from steering.bpf import Kind
from steering.closing import Closing
from steering.compile import Module
from steering.errors import OversprayError
from steering.waiting import wait_for

_SETTLE_S = 3.0
_BY_US = ("wire", "steer", "worker", "deliver")
"""Stages whose losses are no packets of the kernel's yet: it gives no reasons for them."""


@dataclass(frozen=True)
class Explained:
    """Where the packets of one run went, whose rates are nobody's to compare."""

    offered: int
    delivered: int
    freed: dict[str, dict[str, int]]
    """What the kernel dropped, by function and reason."""
    ours: dict[str, dict[str, int]]
    """What was lost before there was a packet of the kernel's, by stage and name."""
    segments_per_skb: float | None
    """Packets in one of those that reached the IP stack of the path's end; None before Linux 6.6."""

    @property
    def unexplained(self) -> int:
        """Offered, and neither delivered nor lost by name; below 0 where one was counted twice."""
        parts = [*self.freed.values(), *self.ours.values()]
        return self.offered - self.delivered - sum(sum(names.values()) for names in parts)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "unexplained": self.unexplained}


class Ends(Closing):
    """Counts what reaches the last device of each receive path of labs. A context manager."""

    def __init__(self, labs: Iterable[Lab]) -> None:
        with ExitStack() as stack:  # what was opened is closed if the rest fails
            self._module = stack.enter_context(Module("ends.bpf.c"))
            self.program = self._module.load("ends", Kind.TC)
            for lab in labs:
                for place in [each.own for each in lab.target.endpoints] or [lab.target.nic]:
                    with netns.entered(place.ns):
                        index = netns.index(place.device)
                        stack.enter_context(bpf.Link(self.program, index, bpf.ATTACH_TCX_INGRESS))
            self._open = stack.pop_all()

    def close(self) -> None:
        """Count no more. Closing twice is harmless."""
        self._open.close()

    def counts(self) -> dict[str, int]:
        """All of enum ends_counter by name."""
        counted = self._module.counts("ends_counters", "ends_counter")
        return {name: int(values.sum()) for name, values in counted.items()}


class Explainer(Closing):
    """The observers, over all labs of a bed, until they are closed. A context manager.

    Raises:
        OversprayError: the kernel gives no reasons, or does not tell its types.
    """

    def __init__(self, bed: Bed) -> None:
        self._bed = bed
        watched = [name for lab in bed.labs for role, name in lab.names.items() if role != "wire"]
        with ExitStack() as stack:
            self.freed = stack.enter_context(Freed(watched))
            has_links = all(row.ok for row in doctor.examine("tc links"))
            self.ends = stack.enter_context(Ends(bed.labs)) if has_links else None
            self._open = stack.pop_all()

    def close(self) -> None:
        """Observe no more. Closing twice is harmless."""
        self._open.close()

    @property
    def programs(self) -> dict[str, int]:
        """Descriptors of the observers' programs, by what they see."""
        return {"kfree_skb": self.freed.program, **({"end": self.ends.program} if self.ends else {})}

    def explain(self, variant: Variant, seconds: float) -> Explained:
        """Run a variant once; raises as :func:`bench.run.run`."""
        with self._bed.in_effect(variant) as effect:
            before, ends = self.freed.read(), self._ends()  # after what attaching frees
            sample = measured(self._bed, variant, effect, seconds, 0.0, 0)

            def found() -> Explained:
                packets, segments = (now - then for now, then in zip(self._ends(), ends, strict=True))
                return Explained(
                    offered=sample.offered,
                    delivered=effect.case.sink.delivered,
                    freed=by_stage(before, self.freed.read()),
                    ours={stage: names for stage, names in sample.drops.items() if stage in _BY_US},
                    segments_per_skb=segments / packets if packets else None,
                )

            with suppress(OversprayError):  # what is missing is said
                wait_for(lambda: found().unexplained == 0, "every packet", _SETTLE_S)
            return found()

    def _ends(self) -> tuple[int, int]:
        counts = self.ends.counts() if self.ends else {}
        return counts.get("packets", 0), counts.get("segments", 0)


def explained(
    bed: Bed, variants: Iterable[Variant], seconds: float, say: Callable[[str], None]
) -> list[Explained]:
    """A run of each. Where that can't be, ``say`` is told why, and there is none: what was measured stays."""
    try:
        with Explainer(bed) as explainer:
            return [explainer.explain(variant, seconds) for variant in variants]
    except OversprayError as error:
        say(f"losses are not explained: {error}")
        return []
