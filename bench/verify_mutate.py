"""The generator: templates become frames by the ten thousand, a few fields changed in each.

All frames of a pool are made at once with numpy, a row each; the zeros behind a frame do not count
in a checksum, so rows of any length are mended alike. The same seed gives the same frames.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.lab_plan import Lab
from bench.verify_bytes import address_bytes
from bench.verify_frames import Template

Bytes = NDArray[np.uint8]
Numbers = NDArray[np.int64]

_POOL = 4096
_MOST = 16
"""Bytes of the longest field."""
_BEHIND = 64
"""Room behind the longest frame, for what is added to one."""
_CHANGES = (0.22, 0.40, 0.26, 0.12)
"""How many fields are changed: none, one, two, three."""
_FLOWS = 8
"""Source ports: few, so that a flow has been seen before, on its way to another container too."""
_ETHERNET = 14


@dataclass(frozen=True)
class Frame:
    """A frame to be sent, and the template that it was made of."""

    data: bytes
    template: Template


class Generator:
    """An endless stream of frames for a lab."""

    def __init__(self, lab: Lab, templates: Sequence[Template], seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._templates = templates
        self._ends = [
            np.frombuffer(bytes.fromhex(end.mac.replace(":", "")), np.uint8)
            for end in lab.endpoints
        ]
        self._own = {end.tobytes() for end in self._ends}
        self._last_bytes = [address_bytes(end.ip)[-1] for end in lab.endpoints]
        self._next = 1
        weights = np.array([each.weight for each in templates])
        self._weights = weights / weights.sum()
        longest = max(len(each.data) for each in templates) + _BEHIND
        self._width = -(-longest // 2) * 2
        self._data = np.zeros((len(templates), self._width), np.uint8)
        for row, each in enumerate(templates):
            self._data[row, : len(each.data)] = np.frombuffer(each.data, np.uint8)
        self._table = _Table(templates)

    def frames(self) -> Iterator[Frame]:
        """Frame after frame."""
        while True:
            yield from self.pool()

    def pool(self, count: int = _POOL) -> list[Frame]:
        """The next ``count`` frames."""
        which = self._choose(count)
        rows = Rows(self._data[which].copy(), which, self._table, self._random)
        self._number(rows)
        self._address(rows)
        self._mark(rows)
        self._change(rows)
        rows.mend(self._resize(rows))
        made = (
            Frame(rows.data[row, : rows.length[row]].tobytes(), self._templates[which[row]])
            for row in range(count)
        )
        return [frame for frame in made if not self._moves_a_container(frame)]

    def _moves_a_container(self, frame: Frame) -> bool:
        """Whether it comes from a container's own MAC: the bridge would learn that the container
        has moved, and every later frame would be judged by that (see tests/lab/test_threats.py)."""
        at = frame.template.ethernet + 6
        return at >= 6 and frame.data[at : at + 6] in self._own

    def _choose(self, count: int) -> Numbers:
        """Templates by weight; the second half of a pair follows the first."""
        which = self._random.choice(len(self._templates), count, p=self._weights)
        firsts = np.flatnonzero(self._table.first[which[:-1]])
        which[firsts + 1] = which[firsts] + 1
        return which.astype(np.int64)

    def _number(self, rows: "Rows") -> None:
        """Each frame its own number, and a pair of fragments one in common."""
        number = self._next + np.arange(len(rows.which))
        self._next += len(rows.which)
        rows.put(rows.of("number"), 4, number)
        rest = np.concatenate(([False], self._table.first[rows.which[:-1]]))
        pair = number - rest
        for size in (2, 4):
            chosen = rows.of("ident_size") == size
            rows.put(np.where(chosen, rows.of("ident"), -1), size, pair)
        port = np.where(rows.of("protocol") == 1, -1, rows.of("layer4"))
        datagram = (rows.of("protocol") == 6) | (rows.of("protocol") == 17)
        rows.put(
            np.where(datagram, port, -1), 2, 1024 + self._random.integers(0, _FLOWS, len(port))
        )
        # A sequence number of its own, far from the next: GRO has nothing to merge.
        tcp = rows.of("protocol") == 6
        rows.put(np.where(tcp, rows.of("layer4") + 4, -1), 4, (number * 65_537) & 0xFFFFFFFF)

    def _address(self, rows: "Rows") -> None:
        """Half of the frames go to another container than the first."""
        end = self._random.integers(0, len(self._ends), len(rows.which))
        for index in range(1, len(self._ends)):
            data = rows.of("ethernet")
            single = np.array([not each.data[place] & 1 for each, place in self._table.ends])
            chosen = (end == index) & single[rows.which] & (data >= 0)
            rows.write(np.where(chosen, data, -1), self._ends[index])
            target = np.where(chosen & (rows.of("inner") >= 0), rows.of("target"), -1)
            rows.put(target, 1, np.full(len(target), self._last_bytes[index]))

    def _mark(self, rows: "Rows") -> None:
        """Congestion marks (RFC 6040), every combination outside and inside, on a third."""
        for place in ("outer", "inner"):
            at = rows.of(place)
            chosen = (self._random.random(len(at)) < 0.33) & (at >= 0)
            version = rows.get(np.where(chosen, at, -1), 1) >> 4
            mark = self._random.integers(0, 4, len(at))
            where = np.where(chosen, at + 1, -1)
            before = rows.get(where, 1)
            shift = np.where(version == 6, 4, 0)
            rows.put(where, 1, (before & ~(3 << shift)) | mark << shift)

    def _change(self, rows: "Rows") -> None:
        """Other values in up to three fields: any bits, one bit more or less, or a special one."""
        count = len(rows.which)
        changes = self._random.choice(len(_CHANGES), count, p=_CHANGES)
        table = self._table
        for turn in range(1, len(_CHANGES)):
            chosen = changes >= turn
            field = table.field_start[rows.which] + (
                self._random.random(count) * table.field_count[rows.which]
            ).astype(np.int64)
            at, size = table.at[field], table.size[field]
            values = self._random.integers(0, 256, (count, _MOST), np.uint8)
            kind = self._random.random(count)
            flipped = rows.bytes_at(at, _MOST)
            bit = self._random.integers(0, 8 * size)
            flipped[np.arange(count), bit // 8] ^= (1 << (bit % 8)).astype(np.uint8)
            values = np.where((kind < 0.35)[:, None], flipped, values)
            special = (kind > 0.5) & (table.value_count[field] > 0)
            pick = table.value_start[field] + (
                self._random.random(count) * table.value_count[field]
            ).astype(np.int64)
            values = np.where(special[:, None], table.values[np.where(special, pick, 0)], values)
            for place in range(_MOST):
                rows.put(np.where(chosen & (place < size), at + place, -1), 1, values[:, place])

    def _resize(self, rows: "Rows") -> "Mending":
        """Some frames are cut, some have something behind them; what is mended then."""
        draw = self._random.random
        count = len(rows.which)
        kind = draw(count)
        cut = _ETHERNET + (draw(count) * (rows.length - _ETHERNET)).astype(np.int64)
        more = rows.length + self._random.integers(1, _BEHIND, count)
        length = np.where(kind < 0.05, cut, np.where(kind > 0.96, more, rows.length))
        columns = np.arange(rows.data.shape[1])
        behind = (columns >= rows.length[:, None]) & (columns < length[:, None])
        rows.data[behind] = self._random.integers(0, 256, int(behind.sum()), np.uint8)
        rows.data[columns >= length[:, None]] = 0
        rows.length = length
        resized = draw(count) < 0.6
        return Mending(
            inner_length=resized & (kind < 0.05) | (draw(count) < 0.3) & (kind > 0.96),
            inner_sums=draw(count) < 0.85,
            outer_length=resized,
            outer_sum=draw(count) < 0.9,
            udp_sum=draw(count),
        )


@dataclass(frozen=True)
class Mending:
    """Which rows get right lengths and checksums again. ``udp_sum``: below 0.6 what it was or, if
    that was none, none; then right, wrong by one bit, or none."""

    inner_length: NDArray[np.bool_]
    inner_sums: NDArray[np.bool_]
    outer_length: NDArray[np.bool_]
    outer_sum: NDArray[np.bool_]
    udp_sum: NDArray[np.float64]


class Rows:
    """Frames in rows, zero behind their ends. Places are one for each row, -1: not that row."""

    def __init__(
        self, data: Bytes, which: Numbers, table: "_Table", random: np.random.Generator
    ) -> None:
        self.data, self.which, self._table, self._random = data, which, table, random
        self.length = table.length[which]
        self._row = np.arange(len(which))

    def of(self, name: str) -> Numbers:
        """A property of each row's template."""
        return self._table.places[name][self.which]

    def get(self, at: Numbers, size: int) -> Numbers:
        """The numbers at these places; 0 where there is none."""
        value = np.zeros(len(at), np.int64)
        for place in range(size):
            inside = (at >= 0) & (at + place < self.data.shape[1])
            column = np.where(inside, at + place, 0)
            value = value << 8 | np.where(inside, self.data[self._row, column], 0)
        return value

    def put(self, at: Numbers, size: int, value: NDArray[np.integer]) -> None:
        """Write numbers there, in network byte order, as far as the rows are long."""
        for place in range(size):
            shift = 8 * (size - 1 - place)
            inside = (at >= 0) & (at + place < self.length)
            row = self._row[inside]
            self.data[row, at[inside] + place] = (value[inside] >> shift) & 0xFF

    def write(self, at: Numbers, data: Bytes) -> None:
        """Write the same bytes there."""
        for place, byte in enumerate(data):
            self.put(np.where(at >= 0, at + place, -1), 1, np.full(len(at), byte))

    def bytes_at(self, at: Numbers, size: int) -> Bytes:
        """Bytes from these places on: shape (rows, size)."""
        column = np.minimum(at[:, None] + np.arange(size), self.data.shape[1] - 1)
        found: Bytes = self.data[self._row[:, None], column]
        return found

    def mend(self, how: Mending) -> None:
        """Lengths and checksums, from the inside out."""
        self._mend_ip("inner", how.inner_length, how.inner_sums)
        self._mend_ip("outer", how.outer_length, how.outer_sum)
        at = self.of("udp")
        self.put(np.where(how.outer_length & (at >= 0), at + 4, -1), 2, self.length - at)
        had = self.get(np.where(at >= 0, at + 6, -1), 2) != 0
        draw = how.udp_sum
        summed = (at >= 0) & ((had & (draw < 0.6)) | ((draw >= 0.6) & (draw < 0.8)))
        wrong = (at >= 0) & (draw >= 0.8) & (draw < 0.86)
        self._sum_layer4("outer", at, 17, summed | wrong)
        bit = 1 << self._random.integers(0, 16, len(at))
        place = np.where(wrong, at + 6, -1)
        self.put(place, 2, self.get(place, 2) ^ bit)

    def _mend_ip(self, side: str, lengths: NDArray[np.bool_], sums: NDArray[np.bool_]) -> None:
        at, size = self.of(side), self.of(f"{side}_size")
        there = at >= 0
        four = there & (self.of(f"{side}_version") == 4)
        self.put(np.where(four & lengths, at + 2, -1), 2, self.length - at)
        six = there & ~four
        self.put(np.where(six & lengths, at + 4, -1), 2, self.length - at - 40)
        if side == "inner":
            layer4, protocol = self.of("layer4"), self.of("protocol")
            datagram = there & (layer4 >= 0) & (protocol == 17)
            self.put(np.where(datagram & lengths, layer4 + 4, -1), 2, self.length - layer4)
            self._sum_layer4(side, layer4, protocol, sums & (layer4 >= 0))
        place = np.where(four & sums, at + 10, -1)
        self.put(place, 2, np.zeros(len(at), np.int64))
        self.put(place, 2, self._folded(self._sum(at, at + size)))

    def _sum_layer4(
        self, side: str, at: Numbers, protocol: Numbers | int, chosen: NDArray[np.bool_]
    ) -> None:
        """Checksums of UDP, TCP and ICMP, over pseudo-headers as the headers are now. A datagram
        without one keeps none, on the inside."""
        protocol = np.broadcast_to(protocol, at.shape)
        place = np.select(
            [protocol == 17, protocol == 6, (protocol == 1) | (protocol == 58)],
            [at + 6, at + 16, at + 2],
            -1,
        )
        if side == "inner":
            chosen = chosen & ((protocol != 17) | (self.get(np.where(chosen, place, -1), 2) != 0))
        place = np.where(chosen, place, -1)
        self.put(place, 2, np.zeros(len(at), np.int64))
        ip, version = self.of(side), self.of(f"{side}_version")
        start = ip + np.where(version == 4, 12, 8)
        pseudo = self._sum(start, start + np.where(version == 4, 8, 32))
        pseudo = pseudo + np.where(protocol == 1, 0, protocol + self.length - at)
        pseudo = np.where(protocol == 1, 0, pseudo)
        value = self._folded(self._sum(at, self.length) + pseudo)
        self.put(place, 2, np.where((protocol == 17) & (value == 0), 0xFFFF, value))

    def _sum(self, start: Numbers, end: Numbers) -> Numbers:
        """Sums of the 16-bit words between two even places of each row."""
        words = self.data.view(">u2").astype(np.uint16)
        last = words.shape[1]
        low, high = np.clip(start // 2, 0, last), np.clip((end + 1) // 2, 0, last)
        places = np.stack((low, high), axis=1) + last * self._row[:, None]
        flat = np.append(words, np.uint16(0))  # a place for the last row's end
        total: Numbers = np.add.reduceat(flat, places.ravel(), dtype=np.int64)[::2]
        return np.where(low < high, total, 0)

    @staticmethod
    def _folded(total: Numbers) -> Numbers:
        for _ in range(3):
            total = (total & 0xFFFF) + (total >> 16)
        return ~total & 0xFFFF


class _Table:
    """All templates as arrays, indexed by template; their fields and values one after another."""

    def __init__(self, templates: Sequence[Template]) -> None:
        self.length = np.array([len(each.data) for each in templates])
        self.first = np.array([each.first for each in templates])
        self.ends = [(each, max(each.ethernet, 0)) for each in templates]
        self.places = {
            name: np.array([getattr(each, name) for each in templates])
            for name in (
                "outer", "udp", "ethernet", "inner", "layer4", "protocol", "number", "ident",
                "ident_size",
            )
        }  # fmt: skip
        for side in ("outer", "inner"):
            heads = [_head(each.data, getattr(each, side)) for each in templates]
            self.places[f"{side}_version"] = np.array([version for version, _ in heads])
            self.places[f"{side}_size"] = np.array([size for _, size in heads])
        four = self.places["inner_version"] == 4
        self.places["target"] = self.places["inner"] + np.where(four, 19, 39)
        fields = [each.fields for each in templates]
        self.field_count = np.array([len(each) for each in fields])
        self.field_start = np.cumsum(self.field_count) - self.field_count
        flat = [one for each in fields for one in each]
        self.at = np.array([one.at for one in flat])
        self.size = np.array([one.size for one in flat])
        self.value_count = np.array([len(one.values) for one in flat])
        self.value_start = np.cumsum(self.value_count) - self.value_count
        values = [value for one in flat for value in one.values]
        self.values = np.zeros((len(values), _MOST), np.uint8)
        for row, value in enumerate(values):
            self.values[row, : len(value)] = np.frombuffer(value, np.uint8)


def _head(data: bytes, at: int) -> tuple[int, int]:
    """Version and size of the IP header at a place."""
    if at < 0:
        return 0, 0
    version = data[at] >> 4
    return version, (data[at] & 15) * 4 if version == 4 else 40
