"""The kernel's types: read from bytes made here, as Documentation/bpf/btf.rst of the kernel has them."""

import struct

import pytest

from steering.btf import Btf
from steering.errors import OversprayError

INT, POINTER, ARRAY, STRUCT, UNION, ENUM, TYPEDEF, CONST = 1, 2, 3, 4, 5, 6, 8, 10


class Made:
    """Types in the order in which they are added: the first one has number 1."""

    def __init__(self) -> None:
        self.types, self.strings = b"", b"\0"

    def text(self, text: str) -> int:
        if not text:
            return 0
        self.strings += text.encode() + b"\0"
        return len(self.strings) - len(text) - 1

    def add(self, name: str, kind: int, last: int, *rows: bytes, packed: bool = False) -> None:
        members = len(rows) if kind in (STRUCT, UNION, ENUM) else 0
        info = packed << 31 | kind << 24 | members
        self.types += struct.pack("=III", self.text(name), info, last) + b"".join(rows)

    def member(self, name: str, number: int, bit: int) -> bytes:
        return struct.pack("=III", self.text(name), number, bit)

    def data(self) -> bytes:
        sizes = (24, 0, len(self.types), len(self.types), len(self.strings))
        return struct.pack("=HBB5I", 0xEB9F, 1, 0, *sizes) + self.types + self.strings


@pytest.fixture
def types() -> Btf:
    made = Made()
    made.add("int", INT, 4, bytes(4))  # 1
    made.add("", POINTER, 1)  # 2
    made.add("", ARRAY, 0, struct.pack("=III", 1, 1, 7))  # 3
    made.add("space", STRUCT, 16, made.member("first", 2, 0), made.member("number", 1, 64))  # 4
    made.add("space_t", TYPEDEF, 4)  # 5
    made.add("", CONST, 5)  # 6
    made.add("", UNION, 8, made.member("device", 2, 0), made.member("scratch", 1, 0))  # 7
    rows = [made.member("list", 3, 0), made.member("", 7, 224), made.member("space", 6, 288)]
    flag = made.member("flag", 1, 3 << 24 | 416)
    made.add("skb", STRUCT, 56, *rows, flag, packed=True)  # 8
    numbers = [struct.pack("=Ii", made.text(name), value) for name, value in (("NO", 0), ("YES", 70000))]
    made.add("answer", ENUM, 4, *numbers)  # 9
    return Btf(made.data())


def test_enumerators_have_their_values(types: Btf) -> None:
    assert types.enum("answer") == {"NO": 0, "YES": 70000}


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (("list",), 0),
        (("device",), 28),  # in a union without a name
        (("scratch",), 28),
        (("space",), 36),
        (("space", "number"), 44),  # through const and typedef
        (("flag",), 52),  # a bit field: its width is no part of the place
    ],
)
def test_a_field_is_found_where_it_is(types: Btf, path: tuple[str, ...], place: int) -> None:
    assert types.offset("skb", *path) == place


@pytest.mark.parametrize("path", [("no",), ("device", "number"), ("list", "number"), ("space", "no")])
def test_a_field_that_is_not_there_is_said(types: Btf, path: tuple[str, ...]) -> None:
    with pytest.raises(OversprayError, match=f"struct skb has no {'.'.join(path)}"):
        types.offset("skb", *path)


def test_what_is_not_there_is_said(types: Btf) -> None:
    for ask in (lambda: types.enum("skb"), lambda: types.offset("answer", "NO")):
        with pytest.raises(OversprayError, match="there is no '"):
            ask()
    with pytest.raises(OversprayError, match="no BTF"):
        Btf(b"\x7fELF" + bytes(60))
