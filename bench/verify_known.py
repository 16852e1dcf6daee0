"""Differences from the stock path that are known, and where docs/limits.md says so.

Each has a name and a predicate. What a predicate does not cover whole is no known difference.
"""

from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address

from bench.verify_bytes import number_of, ones_sum, packet_field
from bench.verify_moved import Places, Sights, without_answers_to_moved

_ICMP = (1, 58)


@dataclass(frozen=True)
class Effect:
    """Places where a frame's traces are missing on our side, and where there are more."""

    missing: frozenset[str]
    more: frozenset[str]


@dataclass(frozen=True)
class Facts:
    """What a lab has fixed, as far as a difference depends on it; addresses as in headers."""

    macs: frozenset[bytes]
    """The containers' own."""
    mtu: int
    """Of tunnel, bridge and containers."""


def known(frame: bytes, effect: Effect, facts: Facts) -> str | None:
    """The name of the known difference that this is, if it is one."""
    return next((name for name, holds in _KNOWN.items() if holds(frame, effect, facts)), None)


@dataclass(frozen=True)
class _Whole:
    """Places in a frame that the fast path may take: plain headers, outside and inside."""

    outer: int
    udp: int
    inner: int
    version: int
    layer4: int


def _parsed(frame: bytes) -> _Whole | None:
    udp = {b"\x08\x00": 34, b"\x86\xdd": 54}.get(frame[12:14])
    if udp is None or len(frame) < udp + 50:
        return None
    inner = udp + 30
    version = {b"\x08\x00": 4, b"\x86\xdd": 6}.get(frame[inner - 2 : inner])
    if version is None:
        return None
    layer4 = inner + (20 if version == 4 else 40)
    return _Whole(14, udp, inner, version, layer4) if len(frame) >= layer4 + 8 else None


def _sum_wrong(frame: bytes, ip: int, at: int, protocol: int) -> bool:
    """Whether the checksum of the UDP or TCP packet at a place does not hold."""
    addresses = frame[ip + 12 : ip + 20] if frame[ip] >> 4 == 4 else frame[ip + 8 : ip + 40]
    body = frame[at:]
    return ones_sum(addresses + body, protocol + len(body)) != 0xFFFF


def _damaged_payload(frame: bytes, effect: Effect, _: Facts) -> bool:
    """The outer UDP checksum is wrong as the inner one is: our side leaves it to the inner one."""
    places = _parsed(frame)
    if places is None or effect.missing or any(" " in place for place in effect.more):
        return False
    protocol = frame[places.inner + (9 if places.version == 4 else 6)]
    return (
        "wire" not in effect.more
        and frame[places.udp + 6 : places.udp + 8] != bytes(2)
        and protocol in (6, 17)
        and _sum_wrong(frame, places.outer, places.udp, 17)
        and _sum_wrong(frame, places.inner, places.layer4, protocol)
    )


def _too_large(frame: bytes, effect: Effect, facts: Facts) -> bool:
    """The inner packet is larger than the MTU of bridge and container: these drop it, the way past
    them does not ask. Possible only where the network outside takes more than that and a tunnel."""
    places = _parsed(frame)
    size = len(frame) - (places.inner if places else 0)
    return places is not None and not effect.missing and size > facts.mtu


def _sum_over_more(frame: bytes, effect: Effect, _: Facts) -> bool:
    """A datagram that is shorter than its IP packet, with a checksum over all of that: GRO takes it
    for right, and the container's stack does not ask again. The delivery `veth` has no GRO, and the
    stock path none for a frame in a tunnel with an outer checksum."""
    places = _parsed(frame)
    seen = effect.missing | effect.more
    if places is None or (effect.missing and effect.more) or any(map(_is_raw, seen)):
        return False
    ip, at, four = places.inner, places.layer4, places.version == 4
    end = ip + packet_field(frame, ip + 2) if four else at + packet_field(frame, ip + 4)
    size = packet_field(frame, at + 4)
    return (
        frame[ip + (9 if four else 6)] == 17
        and 8 <= size < end - at
        and not _sum_wrong(frame[:end], ip, at, 17)
        and _sum_wrong(frame[: at + size], ip, at, 17)
    )


def _is_raw(place: str) -> bool:
    """Whether this is a container's device, and not a socket in it or the wire."""
    return place.startswith("c") and " " not in place


_KNOWN: Mapping[str, Callable[[bytes, Effect, Facts], bool]] = {
    "damaged payload": _damaged_payload,
    "larger than the MTU inside": _too_large,
    "checksum over more": _sum_over_more,
}
_UNLEARNED = "unlearned sender"
_ZEROS = "two zeros"
_MOVED = "moved sender"


def names() -> Sequence[str]:
    """All known differences."""
    return [*_KNOWN, _UNLEARNED, _ZEROS, _MOVED]


def explain(
    frames: Sequence[bytes], missing: Sights, more: Sights, facts: Facts, places: Places
) -> "tuple[Counter[str], Sights, Sights]":
    """How often each known difference occurs here, and the sights that none explains; ``places``
    knows these frames and all before them."""
    numbered = {number: frame for frame in frames if (number := number_of(frame)) is not None}
    missing, more, moved = without_answers_to_moved(places, missing, more)
    missing, more, zeros = _without_zeros(missing, more)
    found = +Counter({_ZEROS: zeros, _MOVED: moved})
    rest: tuple[Sights, Sights] = (Counter(), Counter())
    traces: dict[object, tuple[Sights, Sights]] = {}
    kin = _Kin(frames)
    for side, sights in enumerate((missing, more)):
        for (place, data), count in sights.items():
            if side == 1 and _flooded(place, data, facts.macs):
                found[_UNLEARNED] += count
                continue
            number = number_of(data)
            key: object = (place, data) if number is None else number
            traces.setdefault(key, (Counter(), Counter()))[side][place, data] = count
    for key, (less, extra) in traces.items():
        effect = Effect(frozenset(at for at, _ in less), frozenset(at for at, _ in extra))
        # What was cut off in front of its number's end has another number, or none.
        frame = numbered.get(key) if isinstance(key, int) else None
        suspects = [frame] if frame else kin.of(*next(iter(less or extra)))
        name = next(filter(None, (known(frame, effect, facts) for frame in suspects)), None)
        if name is not None:
            found[name] += 1
        else:
            rest[0].update(less)
            rest[1].update(extra)
    return found, *rest


def _without_zeros(missing: Sights, more: Sights) -> tuple[Sights, Sights, int]:
    """Without those that differ in how the zero of an inner IPv4 checksum is written, and how many
    these were: a congestion mark may make it 0xffff on the stock path, 0 on ours."""
    ours: dict[tuple[str, bytes], list[bytes]] = {}
    for place, data in more:
        ours.setdefault((place, _one_zero(place, data)), []).append(data)
    less, extra, zeros = Counter(missing), Counter(more), 0
    for place, data in missing:
        for other in ours.get((place, _one_zero(place, data)), []):
            times = min(less[place, data], extra[place, other])
            less[place, data] -= times
            extra[place, other] -= times
            zeros += times
    return +less, +extra, zeros


def _one_zero(place: str, data: bytes) -> bytes:
    """With 0 where the inner IPv4 header, or the one that an ICMP error quotes, has 0xffff."""
    tunnelled = _parsed(data) if place == "wire" else None
    at = tunnelled.layer4 + 8 if tunnelled else 14
    header = data[at : at + 1] == b"\x45" and data[at + 10 : at + 12] == b"\xff\xff"
    return data[: at + 10] + bytes(2) + data[at + 12 :] if header else data


class _Kin:
    """The frames of a flow, for what comes out without a number; read when first asked."""

    def __init__(self, frames: Sequence[bytes]) -> None:
        self._frames = frames

    @cached_property
    def _by_sender(self) -> Mapping[bytes, list[bytes]]:
        """By the inner sender as an application is told."""
        found: dict[bytes, list[bytes]] = {}
        for frame in self._frames:
            if whole := _parsed(frame):
                found.setdefault(_sender(frame, whole), []).append(frame)
        return found

    @cached_property
    def _by_ends(self) -> Mapping[frozenset[bytes], list[bytes]]:
        found: dict[frozenset[bytes], list[bytes]] = {}
        for frame in self._frames:
            if whole := _parsed(frame):
                found.setdefault(_ends(frame, whole.inner), []).append(frame)
        return found

    def of(self, place: str, data: bytes) -> list[bytes]:
        """The frames of the flow that this belongs to, or answers."""
        if " " in place:
            each = self._by_sender.items()
            return [frame for sender, frames in each if sender in data for frame in frames]
        tunnelled = _parsed(data) if place == "wire" else None
        at = tunnelled.inner if tunnelled else 14
        if tunnelled and data[at + (9 if tunnelled.version == 4 else 6)] in _ICMP:
            at = tunnelled.layer4 + 8
        ends = _ends(data, at)
        return self._by_ends.get(ends, []) if ends else []


def _sender(frame: bytes, places: _Whole) -> bytes:
    """The inner sender as an application is told."""
    at, size = places.inner + (12 if places.version == 4 else 8), 4 if places.version == 4 else 16
    address = str(ip_address(frame[at : at + size]))
    mapped = f"::ffff:{address}" if places.version == 4 else address
    return repr((mapped, packet_field(frame, places.layer4))).encode()


def _ends(data: bytes, ip: int) -> frozenset[bytes]:
    """Both ends of the flow, each address with its port."""
    first, size = (12, 4) if data[ip : ip + 1] and data[ip] >> 4 == 4 else (8, 16)
    one, other = ip + first, ip + first + size
    ports = other + size
    return frozenset(
        data[at : at + size] + data[port : port + 2]
        for at, port in ((one, ports), (other, ports + 2))
        if len(data) >= port + 2
    )


def _flooded(place: str, data: bytes, macs: Container[bytes]) -> bool:
    """A frame for no container that the bridge shows to all of them, for it does not know where its
    receiver is: it has seen frames of that one on the fast path only. Never at a socket."""
    receiver = data[:6]
    return place.startswith("c") and " " not in place and not (receiver in macs or receiver[0] & 1)
