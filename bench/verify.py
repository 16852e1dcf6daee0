"""The stock stack as oracle: twin labs, one stock and one with our datapath, get the same frames.

What every container's device and socket sees, and every answer on the wire, must be the same, byte
for byte and as often; and our datapath must account for each frame. The oracle is tried with every
batch: frames that must be delivered are, on both sides, and frames that must not be are not.
"""

import os
import struct
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from bench.lab_plan import MAX_MTU, Endpoint, Lab, LabSpec
from bench.verify_bytes import MAGIC, address_bytes, mac_bytes, ones_sum
from bench.verify_known import Effect, Facts, explain
from bench.verify_moved import Places
from bench.verify_side import OPEN_PORT, Side, Sight
from steering.closing import Closing
from steering.errors import OversprayError, unknown
from steering.plan import read_plan
from steering.routes import Delivery
from steering.spec import Spec
from steering.unit import Programs, Totals

BATCH = 500
"""Frames at a time: fewer than a worker's queue holds, with the answers to them."""
_SURE = 0.1
"""Seconds of quiet before a difference is believed."""
_SETTLING = 10
"""Looks at labs that have just come up."""
_ETHERNET_AND_TAG = 18


@dataclass(frozen=True)
class Setup:
    """What is compared: the case, our policy with its delivery, and the shape of the labs."""

    case: str
    policy: str
    outer: int = 4
    inner: int = 4
    mtu: int = 1500
    inner_mtu: int | None = None

    def __str__(self) -> str:
        small = f", {self.inner_mtu} inside" if self.inner_mtu else ""
        return f"{self.case}/{self.policy} IPv{self.inner} in IPv{self.outer} MTU {self.mtu}{small}"


SUITE = (
    Setup("flannel", "roundrobin:deliver=peer"),
    Setup("docker", "local:deliver=peer"),
    Setup("linux", "roundrobin:deliver=peer"),
    Setup("flannel", "backlog:cell=4,limit=16,deliver=veth", 4, 6),
    Setup("docker", "roundrobin:deliver=veth", 6, 4),
    Setup("flannel", "local:deliver=veth", 6, 6, MAX_MTU),
    Setup("docker", "backlog:cell=4,limit=16,deliver=peer", 4, 6, MAX_MTU, 1450),
    Setup("linux", "pin:deliver=peer", 6, 6),
)


def suite(case: str | None = None, policy: str | None = None) -> list[Setup]:
    """The setups of the suite, with what is given put in its place, each once.

    Raises:
        BadInput: no case with a tunnel is called so.
    """
    cases = {each.case for each in SUITE}
    if case is not None and case not in cases:
        raise unknown("case with a tunnel", case, cases)
    chosen = [each for each in SUITE if case in (None, each.case)]
    return list(dict.fromkeys(replace(each, policy=policy or each.policy) for each in chosen))


@dataclass(frozen=True)
class Outcome:
    """How the two sides differ over some frames; falsy when they do not."""

    missing: "Counter[Sight]"
    """Seen on the stock side only."""
    more: "Counter[Sight]"
    """Seen on ours only."""
    accounts: tuple[str, ...] = ()
    """What does not add up in our counters."""
    sights: int = 0
    fast: int = 0
    """Frames that took the fast path, control frames left out."""
    known: "Counter[str]" = field(default_factory=Counter)
    """Differences that docs/limits.md names, left out above."""

    def __bool__(self) -> bool:
        return bool(self.missing or self.more or self.accounts)

    def effect(self) -> Effect:
        """The places at which they differ."""
        return Effect(
            frozenset(place for place, _ in self.missing),
            frozenset(place for place, _ in self.more),
        )


class Twins(Closing):
    """Two labs alike, one with our datapath. A context manager."""

    def __init__(self, setup: Setup, name: str, programs: Programs) -> None:
        """Make the labs and attach, with all cores as workers.

        Raises:
            OversprayError: a lab cannot be built, or its control frames do not fare as they must.
            BadInput: a case, policy or knob that does not exist.
        """
        self.setup = setup
        plan = read_plan(Spec.parse(setup.policy), sorted(os.sched_getaffinity(0)))
        self._serial = 0
        self._earlier: Sequence[bytes] = ()
        self._places = Places()
        self._stack = ExitStack()
        stock, ours = lab_names(name)
        try:
            self.stock = self._stack.enter_context(Side(_spec(setup, stock), setup.inner_mtu))
            self.ours = self._stack.enter_context(Side(_spec(setup, ours), setup.inner_mtu))
            self.plan = plan
            self.ours.attach(plan, programs)
            self._facts = _facts(self.lab, setup)
            self._settle()
        except BaseException:
            self._stack.close()
            raise

    def _settle(self) -> None:
        """Wait for labs that have just come up to fall silent (MLD): then control frames agree."""
        for _ in range(_SETTLING):
            if not (outcome := self.compare([])):
                return
        raise OversprayError(f"control frames alone differ: {outcome.effect()}")

    @property
    def lab(self) -> Lab:
        """The stock lab: addresses are the same in both."""
        return self.stock.lab

    def compare(self, frames: Sequence[bytes]) -> Outcome:
        """Send the frames down both paths. A difference is looked at for longer before it counts.

        Raises:
            OversprayError: the oracle is not in its state: a control frame went wrong.
        """
        controls = Controls(self.lab, self._serial)
        self._serial += 1
        sent = [*frames, *controls.refused, *controls.delivered]
        self._places.see(sent)
        before = self.ours.totals()
        stock, ours = (self._through(side, sent, controls) for side in (self.stock, self.ours))
        found = self._outcome(frames, stock, ours, self._accounts(before, sent))
        if found:
            stock += self.stock.late(_SURE)
            ours += self.ours.late(_SURE)
            found = self._outcome(frames, stock, ours, self._accounts(before, sent))
        self._earlier = frames
        controls.check(stock, "stock")
        steer = (self.ours.totals() - before).steer
        fast = steer["local"] + steer["remote"] - len(controls.delivered)
        return replace(found, fast=fast)

    def _outcome(
        self,
        frames: Sequence[bytes],
        stock: "Counter[Sight]",
        ours: "Counter[Sight]",
        accounts: tuple[str, ...],
    ) -> Outcome:
        # On a busy host something of the batch before may come late. Had it been missed there, it
        # would have been said; a difference that is known may be seen now.
        sent = [*frames, *self._earlier]
        found, missing, more = explain(sent, stock - ours, ours - stock, self._facts, self._places)
        return Outcome(missing, more, accounts, stock.total(), known=found)

    def _through(self, side: Side, sent: Sequence[bytes], controls: "Controls") -> "Counter[Sight]":
        side.forget()
        side.send(sent)
        return side.seen(controls.mark, must=side is self.stock)

    def _accounts(self, before: Totals, sent: Sequence[bytes]) -> tuple[str, ...]:
        """What our datapath says of these frames, where it does not add up."""
        counted = self.ours.totals() - before
        steer, room = counted.steer, self.setup.mtu + _ETHERNET_AND_TAG
        fast = steer["local"] + steer["remote"]
        # With the delivery `veth` workers hand on themselves; else tc does, for all.
        by_veth = self.plan.delivery is Delivery.VETH and self.lab.spec.has_containers
        handed = counted.deliver["veth"] if by_veth else counted.peer["segments"]
        sums = {
            "frames on the NIC": (steer["seen"], sum(len(frame) <= room for frame in sent)),
            "frames by verdict": (steer.total() - steer["seen"], steer["seen"]),
            "frames for workers": (counted.sent, steer["remote"]),
            "frames out of workers": (counted.done, counted.sent),
            "frames handed on": (handed, steer["remote"] if by_veth else fast),
        }
        return tuple(
            f"{what}: {got}, not {wanted}" for what, (got, wanted) in sums.items() if got != wanted
        )

    def close(self) -> None:
        """Take both labs down."""
        self._stack.close()


class Controls:
    """Frames that show whether a lab is in its state: good ones for each container, and bad ones.

    All carry this batch's mark or its opposite, so that none is taken for another's.
    """

    def __init__(self, lab: Lab, serial: int) -> None:
        self.mark = MAGIC + struct.pack("!I", 0xF000_0000 | serial)
        self._forbidden = MAGIC + struct.pack("!I", 0xE000_0000 | serial)
        self._places = [f"c{end.index}" for end in lab.endpoints]
        self.delivered = [datagram(lab, end, self.mark) for end in lab.endpoints]
        end = lab.endpoints[0]
        self.refused = [
            datagram(lab, end, self._forbidden, vni=lab.spec.vni + 1),
            datagram(lab, end, self._forbidden)[:-1],
        ]

    def check(self, seen: "Counter[Sight]", side: str) -> None:
        """OversprayError unless each container saw its frame once, and none what it must not."""
        for place in self._places:
            for where in (place, f"{place} socket"):
                count = sum(
                    n for (at, data), n in seen.items() if at == where and self.mark in data
                )
                if count != 1:
                    raise OversprayError(
                        f"verify: {side} lab: a control frame was seen {count} times at '{where}', "
                        f"not once: nothing can be said of this lab"
                    )
        wrong = [at for at, data in seen if at != "wire" and self._forbidden in data]
        if wrong:
            raise OversprayError(
                f"verify: {side} lab: a frame of another network reached '{wrong[0]}': "
                f"nothing can be said of this lab"
            )


def _facts(lab: Lab, setup: Setup) -> Facts:
    return Facts(
        macs=frozenset(mac_bytes(end.mac) for end in lab.endpoints),
        mtu=setup.inner_mtu or lab.spec.inner_mtu,
    )


def datagram(lab: Lab, end: Endpoint, load: bytes, vni: int | None = None) -> bytes:
    """A plain datagram through the tunnel to one container's socket."""
    inside = _ethernet(end.mac, end.peer_mac, lab.spec.inner)
    inside += _ip(end.peer_ip, end.ip, _udp(end.peer_ip, end.ip, 7, OPEN_PORT, load, True))
    return tunnelled(lab, inside, vni)


def tunnelled(lab: Lab, inside: bytes, vni: int | None = None) -> bytes:
    """A frame in the lab's tunnel, as its peer sends it: without an outer UDP checksum."""
    number = lab.spec.vni if vni is None else vni
    tunnel = struct.pack("!II", 0x0800_0000, number << 8) + inside
    remote, ours = lab.remote_vtep_ip, lab.vtep_ip
    whole = _ip(remote, ours, _udp(remote, ours, 49152, lab.port, tunnel, False))
    return _ethernet(lab.nic_mac, lab.wire_mac, lab.spec.outer) + whole


def _ethernet(target: str, source: str, version: int) -> bytes:
    kind = "0800" if version == 4 else "86dd"
    return bytes.fromhex(f"{target}{source}{kind}".replace(":", ""))


def _ip(source: str, target: str, body: bytes) -> bytes:
    ends = address_bytes(source) + address_bytes(target)
    if len(ends) == 32:
        return struct.pack("!IHBB", 6 << 28, len(body), 17, 64) + ends + body
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, 17, 0) + ends
    return head[:10] + struct.pack("!H", ~ones_sum(head) & 0xFFFF) + head[12:] + body


def _udp(source: str, target: str, sport: int, dport: int, body: bytes, summed: bool) -> bytes:
    head = struct.pack("!4H", sport, dport, 8 + len(body), 0)
    ends = address_bytes(source) + address_bytes(target)
    value = ~ones_sum(ends + head + body, 17 + 8 + len(body)) & 0xFFFF or 0xFFFF
    return head[:6] + struct.pack("!H", value if summed else 0) + body


def lab_names(name: str) -> tuple[str, str]:
    """What the labs of twins of a name are called: stock, and ours."""
    return f"{name}-stock", f"{name}-ours"


def _spec(setup: Setup, name: str) -> LabSpec:
    containers = 2 if setup.case in ("docker", "flannel") else 1
    return LabSpec(
        setup.case, name, containers, mtu=setup.mtu, outer=setup.outer, inner=setup.inner
    )
