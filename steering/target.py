"""What stock settings are applied to, and the form in which each of them is described."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from steering import netns
from steering.errors import BadInput
from steering.policy import Knob, read_knobs
from steering.undo import Changes

INITIAL = "/proc/self/ns/net"
"""Where the whole host's own settings are seen: the namespace that the process (though perhaps not
this thread) is in. Process 1 is not open to every root."""


class Place(NamedTuple):
    """A device and the network namespace it is in."""

    ns: netns.Namespace
    device: str


class Container(NamedTuple):
    """A container's veth: the host's end of it, and the container's, where packets arrive."""

    host_ns: netns.Namespace
    host_device: str
    ns: netns.Namespace
    device: str


@dataclass(frozen=True)
class StockTarget:
    """The devices on the way in: the NIC, the tunnel (if any), the containers (if any)."""

    host_ns: netns.Namespace
    nic: str
    tunnel_ns: netns.Namespace = None
    tunnel: str | None = None
    containers: tuple[Container, ...] = ()

    def stage(self, name: str) -> list[Place]:
        """The receiving devices of a stage: ``nic``, ``tunnel`` or ``container``; may be none.

        Of a veth it is the container's end that receives: its RPS mask, GRO and NAPI count, and
        those of the host's end do nothing for packets on their way in.
        """
        if name == "nic":
            return [Place(self.host_ns, self.nic)]
        if name == "tunnel":
            return [Place(self.tunnel_ns, self.tunnel)] if self.tunnel else []
        return [Place(each.ns, each.device) for each in self.containers]


STAGES = ("nic", "tunnel", "container")

Apply = Callable[[StockTarget, Mapping[str, int], Changes], None]


@dataclass(frozen=True)
class Stock:
    """One thing that stock Linux offers: what it is, its knobs, and how it is set."""

    name: str
    summary: str
    apply: Apply
    knobs: Mapping[str, Knob] = field(default_factory=dict)

    def values(self, args: Mapping[str, str]) -> dict[str, int]:
        """Every knob's value. BadInput: a knob it does not have, or a value out of range."""
        return read_knobs(f"'{self.name}'", self.knobs, args)


@dataclass(frozen=True)
class Mask(Knob):
    """A set of cores, written in hexadecimal as the kernel does: ``mask=6`` is cores 1 and 2."""

    def read(self, name: str, text: str) -> int:
        """The mask. BadInput: no hexadecimal number, no core in it, or a core that is not here."""
        try:
            mask = int(text, 16)
        except ValueError:
            raise BadInput(f"{name}={text}: a hexadecimal mask of cores is wanted") from None
        if not self.low <= mask <= self.high:
            raise BadInput(
                f"{name}={text} names a core that is not here: {self.low:x} to {self.high:x}"
            )
        return mask


def mask_knob(text: str) -> Mask:
    """A mask whose default is every core but the first, where the NIC's stage runs."""
    every = (1 << (os.cpu_count() or 1)) - 1
    return Mask(every & ~1 or 1, 1, every, "mask of cores (hexadecimal)", text)


def stage_knobs(**defaults: int) -> dict[str, Knob]:
    """One knob a stage, 1 or 0: whether its devices are changed; 0 leaves them as they are."""
    return {
        stage: Knob(default, 0, 1, "yes or no", f"whether the {stage} devices are changed")
        for stage, default in defaults.items()
    }


def chosen(target: StockTarget, values: Mapping[str, int], name: str) -> list[Place]:
    """The devices of the stages that the knobs choose.

    Raises:
        BadInput: the target has none of them.
    """
    stages = [stage for stage in STAGES if values.get(stage)]
    places = [place for stage in stages for place in target.stage(stage)]
    if not places:
        raise BadInput(f"'{name}' has nothing to act on here: no {' or '.join(stages) or 'stage'}")
    return places


def rx_queues(place: Place) -> list[str]:
    """The sysfs paths of a device's active receive queues."""

    def listed() -> list[str]:
        folder = Path("/sys/class/net", place.device, "queues")
        return sorted(queue.name for queue in folder.glob("rx-*"))

    queues = netns.in_namespace(place.ns, listed)
    return [f"class/net/{place.device}/queues/{queue}" for queue in queues]
