"""Answers to senders that were seen behind several VTEPs: they go to one of these, or to another.

A tunnel device learns from each frame that it sees where the inner sender is. The fast path teaches
it nothing; and within a batch it is a race, on any path, what was learned when an answer leaves.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

Sights = Counter[tuple[str, bytes]]

_MAC, _UDP_AND_VXLAN = 6, 16
_SOURCE = {b"\x08\x00": (26, 4), b"\x86\xdd": (22, 16)}
"""EtherType -> where the outer source address begins, and its size; the other one's follows."""
_EXTENSIONS = (0, 43, 60)
"""IPv6 headers that may stand before UDP: hop-by-hop options, routing, destination options."""


class Places:
    """Where each inner sender was seen, over a whole comparison."""

    def __init__(self) -> None:
        self._vteps: dict[bytes, set[bytes]] = {}

    def see(self, frames: Iterable[bytes]) -> None:
        """Remember these frames' senders."""
        for frame in frames:
            if inside := _inside(frame):
                source, size = _SOURCE[frame[12:14]]
                sender = frame[inside + _MAC : inside + 2 * _MAC]
                self._vteps.setdefault(sender, set()).add(frame[source : source + size])

    def moved(self) -> Mapping[bytes, set[bytes]]:
        """Inner sender -> the VTEPs it was seen behind, where these are several."""
        return {sender: vteps for sender, vteps in self._vteps.items() if len(vteps) > 1}


def without_answers_to_moved(
    places: Places, missing: Sights, more: Sights
) -> tuple[Sights, Sights, int]:
    """Without answers that only went to another of their receiver's VTEPs, and without the search
    for the neighbour that leads there; and how many answers these were."""
    moved = places.moved()
    vteps = frozenset(vtep for where in moved.values() for vtep in where)
    less, extra = (_without_search(sights, vteps) for sights in (missing, more))
    ours: dict[bytes, list[bytes]] = {}
    for answer in _answers(extra, moved):
        ours.setdefault(_wherever(answer), []).append(answer)
    found = 0
    for answer in list(_answers(less, moved)):
        for other in ours.get(_wherever(answer), []):
            times = min(less["wire", answer], extra["wire", other])
            less["wire", answer] -= times
            extra["wire", other] -= times
            found += times
    return +less, +extra, found


def _inside(frame: bytes) -> int | None:
    """Where the frame in the tunnel begins, if this is long enough to have one."""
    if frame[12:14] not in _SOURCE or len(frame) < 54:
        return None
    if frame[12:14] == b"\x08\x00":
        udp = 14 + 4 * (frame[14] & 15)
    else:
        udp, header = 54, frame[20]
        while header in _EXTENSIONS and len(frame) > udp + 1:
            header, udp = frame[udp], udp + 8 * (frame[udp + 1] + 1)
    inside = udp + _UDP_AND_VXLAN
    return inside if len(frame) >= inside + 2 * _MAC else None


def _answers(sights: Sights, moved: Mapping[bytes, object]) -> Iterator[bytes]:
    """Frames on the wire, in a tunnel, to one of these."""
    for place, data in sights:
        inside = _inside(data) if place == "wire" else None
        if inside is not None and data[inside : inside + _MAC] in moved:
            yield data


def _wherever(answer: bytes) -> bytes:
    """The answer without what depends on the VTEP it goes to: MAC, address and checksums."""
    source, size = _SOURCE[answer[12:14]]
    udp = source + 2 * size  # our own headers have no options
    blank = bytearray(answer)
    blank[:_MAC] = bytes(_MAC)
    blank[source + size : udp] = bytes(size)
    for checksum in (udp + 6, *([24] if size == 4 else [])):
        blank[checksum : checksum + 2] = bytes(2)
    return bytes(blank)


def _without_search(sights: Sights, vteps: frozenset[bytes]) -> Sights:
    return Counter(
        {
            (place, data): times
            for (place, data), times in sights.items()
            if not (place == "wire" and _sought(data) in vteps)
        }
    )


def _sought(data: bytes) -> bytes | None:
    """The address that an ARP request or a neighbour solicitation asks for."""
    if data[12:14] == b"\x08\x06" and data[20:22] == b"\x00\x01":
        return data[38:42]
    if data[12:14] == b"\x86\xdd" and data[20] == 58 and data[54:55] == b"\x87":
        return data[62:78]
    return None
