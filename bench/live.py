"""A live overlay as the ground of a comparison: stock or a policy of ours on it, and what its containers get.

The traffic is somebody else's, and so is the load: it is measured, and not controlled.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from bench.losses import Losses, by_stage
from bench.observer import Observer, Reading, cost
from bench.received import Counted, Received
from bench.run import Sample
from steering import attached, cores, discover, doctor, offloads, policy, stock
from steering.attach import Attachment, How
from steering.choice import Choice
from steering.chosen import choose, through
from steering.closing import Closing
from steering.errors import BadInput, unknown
from steering.inventory import Inventory
from steering.netns import entered
from steering.settings import Feature, Missing
from steering.target import Place
from steering.undo import Changes
from steering.unit import Totals

STOCK = "none"
NEEDS = ("capabilities", "BPF", "tracepoints", "cpumap programs", "tc links")
_FEATURES = ("rx-gro", "rx-gro-list", "rx-udp-gro-forwarding", "tx-tcp-segmentation")
_REACHED = 0.9
"""Share of what a policy has delivered that the containers must have counted."""


@dataclass(frozen=True)
class LiveSample(Sample):
    """Offered is what the NIC got, whatever it was; delivered is what came to containers through overlays."""

    containers: dict[str, float] = field(default_factory=dict)
    """Packets a second, by the name of the container's namespace."""
    fast: float = 0.0
    """Share of the delivered packets that a policy of ours delivered."""


@dataclass(frozen=True)
class _Container:
    """A namespace with devices on the overlays; the same only while it is the same namespace."""

    inode: int
    devices: frozenset[str]
    path: str = field(compare=False)
    label: str = field(compare=False)


@dataclass(frozen=True)
class Moment:
    """Everything that is counted, at one moment, in s."""

    time: float
    nic: int
    received: Mapping[_Container, Received]
    ours: tuple[Totals, Totals] | None
    """Before and after the rest: so what is ours between two moments has come to containers between them."""
    lost: Mapping[str, int]
    used: Reading


class Measured:
    """What happened between two moments, once the second has come."""

    def __init__(self, before: Moment, after: Moment) -> None:
        self.seconds = after.time - before.time
        self.nic = max(0, after.nic - before.nic)
        """Frames that it got, whatever they were."""
        self.received = {each: now.since(before.received[each]) for each, now in after.received.items()}
        self.ours = after.ours[0] - before.ours[1] if after.ours and before.ours else None
        self.drops = _drops(before.lost, after.lost) | (self.ours.drops if self.ours else {})
        self.used = cost(before.used, after.used)

    @property
    def delivered(self) -> int:
        """Packets that came to containers."""
        return sum(each.packets for each in self.received.values())

    @property
    def bytes(self) -> int:
        """Of IP packets, the headers of merged ones once."""
        return sum(each.bytes for each in self.received.values())

    @property
    def fast(self) -> float:
        """Share of the delivered packets that a policy of ours delivered."""
        return self.ours.delivered / self.delivered if self.ours and self.delivered else 0.0


class Live(Closing):
    """The overlays behind a NIC, from construction until :meth:`close`; then all is as it was.

    ``vni`` and ``bypass`` as `steering.attach.Attachment` has them. A context manager.

    Raises:
        BadInput: no such NIC, no container behind it, or a variant that can't be.
        OversprayError: the host can't, or another process is attached.
    """

    def __init__(
        self, device: str, variants: Sequence[Choice], vni: int | None = None, bypass: bool = False
    ) -> None:
        doctor.require(*NEEDS)
        for each in variants:
            if not is_stock(each):
                each.plan()
        self._device, self._how = device, How(vni, bypass, held=True)
        self._attached: Attachment | None = None
        attached.put_right()  # or the next command would, under our hands
        found = discover.discover()
        self._nic = choose(found, device)
        if self._nic.xdp:
            raise BadInput(f"'{device}' has an XDP program already ({self._nic.xdp}): detach that first")
        self._containers = self._found(found)
        if not self._containers:
            raise BadInput(f"no container is behind '{device}': type 'overspray discover {device}'")
        with ExitStack() as stack:
            self._nic_counts = stack.enter_context(Counted(self._nic.namespace.path))
            self._counts = {each: stack.enter_context(Counted(each.path)) for each in self._containers}
            self._losses = stack.enter_context(Losses([each.path for each in self._containers]))
            self._observer = stack.enter_context(Observer())
            # While stock is in effect, too: the offloads are put back under whoever would attach meanwhile.
            stack.enter_context(attached.held(self._nic))
            # For stock as well: what is compared has equal offloads.
            offloads.put_off(stack.enter_context(Changes()), found, self._nic)
            stack.callback(self._detach)
            self._changes = stack.enter_context(Changes())
            self._open = stack.pop_all()

    def close(self) -> None:
        """Detach, if anything is attached. Closing twice is harmless."""
        self._open.close()

    def put(self, variant: Choice) -> None:
        """Let that be in effect from now on; raises as `Attachment`."""
        self._changes.close()
        if is_stock(variant):
            self._detach()
            nic = Place(self._nic.namespace.name or self._nic.namespace.path, self._device)
            for ns, setting, value in stock.coalescing_of(nic, variant.coalescing, cores.usable()[0]):
                self._changes.set(ns, setting, value)
        elif self._attached is None:
            self._attached = Attachment(self._device, variant, self._how)
        else:
            self._attached.swap(variant)
            self._attached.refresh()

    def settings(self) -> dict[str, str]:
        """The NIC's, as read back; what this kernel lacks is left out."""
        found = {}
        with entered(self._nic.namespace.path):
            for name in _FEATURES:
                try:
                    found[f"{self._device} {name}"] = Feature(self._device, name).read()
                except Missing:
                    continue
        return found

    def run(self, variant: Choice, seconds: float, warm_up: float, number: int) -> LiveSample:
        """Put it into effect, and measure it once; ``number`` is the round's. Raises as :meth:`put`."""
        self.put(variant)
        time.sleep(warm_up)
        before = self.moment()
        time.sleep(seconds)
        found = Measured(before, self.moment())
        return LiveSample(
            variant=str(variant),
            round=number,
            seconds=found.seconds,
            offered=found.nic,
            delivered=found.delivered,
            bytes=found.bytes,
            rate=found.delivered / found.seconds,
            offered_rate=found.nic / found.seconds,
            drops=found.drops,
            order={},
            latency={},
            cores={str(core): kinds for core, kinds in found.used.cores.items()},
            per_packet=found.used.per_packet(found.delivered),
            wire_share=0.0,
            limited=False,
            settings=self.settings(),
            invalid=self._invalid(found),
            containers={each.label: got.packets / found.seconds for each, got in found.received.items()},
            fast=found.fast,
        )

    def _invalid(self, found: Measured) -> list[str]:
        """Why a run is no result."""
        reasons = []
        if self._found(discover.discover()) != self._containers:
            reasons.append("containers came or went meanwhile")
        if not found.delivered:
            reasons.append("no container received anything")
        if found.fast * _REACHED > 1:
            reasons.append("containers received less than a policy has delivered")
        return reasons

    def _found(self, inventory: Inventory) -> frozenset[_Container]:
        """The containers that are there now; raises as `choose`."""
        devices: dict[int, set[str]] = {}
        spaces = {}
        for overlay in through(inventory, choose(inventory, self._device)):  # it has XDP by now, maybe
            for port in overlay.ports if self._how.vni in (None, overlay.vni) else ():
                if port.peer:
                    spaces[port.peer.namespace.inode] = port.peer.namespace
                    devices.setdefault(port.peer.namespace.inode, set()).add(port.peer.name)
        return frozenset(
            _Container(inode, frozenset(devices[inode]), space.path, str(space))
            for inode, space in spaces.items()
        )

    def moment(self) -> Moment:
        """Everything that is counted, as it is now."""
        used, lost, ours = self._observer.read(), self._losses.read(), self._ours()
        now, nic = time.monotonic(), self._nic_counts.frames(self._nic.name)
        received = {each: counts.beside(each.devices) for each, counts in self._counts.items()}
        last = self._ours()
        return Moment(now, nic, received, (ours, last) if ours and last else None, lost, used)

    def _ours(self) -> Totals | None:
        return self._attached.datapath.totals() if self._attached else None

    def _detach(self) -> None:
        attachment, self._attached = self._attached, None
        if attachment:
            attachment.close()


def _drops(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """What the kernel lost in the containers. Its errors of UDP are the sum of the others, and of what an
    application filters away."""
    found = by_stage(before, after)
    found.get("udp", {}).pop("error", None)
    return {stage: names for stage, names in found.items() if names}


def variant_of(text: str) -> Choice:
    """``none``, or a policy of ours with its knobs, each with coalescing or without; BadInput for all that a
    live overlay is not given."""
    known = f"choose {STOCK}, or a policy of {', '.join(policy.names())}"
    if "/" in text and not text.startswith("@"):
        raise BadInput(f"'{text}' names a case, and a live overlay is one: {known}")
    choice = Choice.parse(text)
    spec = choice.policy
    if is_stock(choice) and spec.args:
        raise BadInput(f"'{text}': stock steering is left as it is on a live overlay: {known}")
    if not is_stock(choice) and not spec.path and spec.name not in policy.names():
        raise unknown("variant of a live overlay", spec.name, [STOCK, *policy.names()])
    stock.check(None, choice.coalescing, cores.usable()[0])
    return choice


def is_stock(choice: Choice) -> bool:
    """Whether nothing of ours is attached."""
    return choice.policy.name == STOCK
