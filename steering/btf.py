"""The running kernel's own account of its types (BTF): names of enumerators, places of fields in structs.

So that what differs from kernel to kernel is asked, not assumed. Form: the kernel's Documentation/bpf/btf.rst
and include/uapi/linux/btf.h.
"""

import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from steering.errors import OversprayError

_VMLINUX = Path("/sys/kernel/btf/vmlinux")
_MAGIC = 0xEB9F
_STRUCT, _UNION, _ENUM = 4, 5, 6
_QUALIFIERS = range(8, 12)
"""typedef, volatile, const, restrict."""
_FIXED = {1: 4, 3: 12, 14: 4, 17: 4}
_EACH = {_STRUCT: 12, _UNION: 12, _ENUM: 8, 13: 8, 15: 12, 19: 12}
"""Bytes behind a type's own 12: so many, or so many for each of its members, by kind."""


class Btf:
    """Types by name. OversprayError where the bytes are none that we can read."""

    def __init__(self, data: bytes) -> None:
        if len(data) < 24 or struct.unpack_from("=H", data)[0] != _MAGIC:
            raise OversprayError("read the kernel's types: this is no BTF of this machine's byte order")
        size, types, length, strings = struct.unpack_from("=4I", data, 4)
        self._data, self._strings = data, size + strings
        self._places = [0, *_places(data, size + types, length)]
        """Where each type stands, by its number; 0 is void."""

    def enum(self, name: str) -> dict[str, int]:
        """Enumerators with their values; OversprayError where there is no such enum."""
        place, kind, count = self._named(name, _ENUM)
        rows = struct.iter_unpack("=Ii", self._data[place + 12 : place + 12 + count * _EACH[kind]])
        return {self._text(label): value for label, value in rows}

    def offset(self, name: str, *path: str) -> int:
        """Bytes from the start of ``struct name`` to a field, or to a field of that field, and so on.

        Unnamed structs and unions are looked through. OversprayError where there is no such field.
        """
        place, bits = self._named(name, _STRUCT)[0], 0
        for field in path:
            found = next(self._found(place, field), None)
            if found is None:
                raise OversprayError(f"this kernel's types: struct {name} has no {'.'.join(path)}")
            bits, place = bits + found[0], found[1]
        return bits // 8

    def _found(self, place: int, field: str) -> Iterator[tuple[int, int]]:
        """The bit that the field begins at, and the place of its type."""
        kind, count, packed = self._head(place)
        for at in range(place + 12, place + 12 + count * 12 if kind in (_STRUCT, _UNION) else 0, 12):
            label, number, where = struct.unpack_from("=3I", self._data, at)
            where = where & 0xFFFFFF if packed else where  # the rest is a bit field's width
            inner = self._plain(number)
            if self._text(label) == field:
                yield where, inner
            elif not label:
                yield from ((where + bits, found) for bits, found in self._found(inner, field))

    def _plain(self, number: int) -> int:
        """The place of a type behind the names and qualifiers that it may have."""
        place = self._places[number]
        while place and self._head(place)[0] in _QUALIFIERS:
            place = self._places[struct.unpack_from("=I", self._data, place + 8)[0]]
        return place

    def _named(self, name: str, wanted: int) -> tuple[int, int, int]:
        for place in self._places[1:]:
            kind, count, _ = self._head(place)
            if kind == wanted and self._text(struct.unpack_from("=I", self._data, place)[0]) == name:
                return place, kind, count
        raise OversprayError(f"this kernel's types: there is no '{name}'")

    def _head(self, place: int) -> tuple[int, int, bool]:
        """Kind, members, and whether bit fields are packed."""
        (info,) = struct.unpack_from("=I", self._data, place + 4)
        return info >> 24 & 0x1F, info & 0xFFFF, bool(info >> 31)

    def _text(self, at: int) -> str:
        start = self._strings + at
        return self._data[start : self._data.index(0, start)].decode()


@cache
def kernel() -> Btf:
    """The running kernel's. OversprayError where it does not tell (CONFIG_DEBUG_INFO_BTF)."""
    try:
        return Btf(_VMLINUX.read_bytes())
    except OSError as error:
        raise OversprayError(f"read '{_VMLINUX}': {error.strerror}: type 'overspray doctor'") from None


def _places(data: bytes, place: int, length: int) -> Iterator[int]:
    end = place + length
    while place < end:
        yield place
        (info,) = struct.unpack_from("=I", data, place + 4)
        kind, count = info >> 24 & 0x1F, info & 0xFFFF
        place += 12 + _FIXED.get(kind, 0) + _EACH.get(kind, 0) * count
