"""The one reader of the C headers: enums, structs and their comments become Python values.

Headers read here hold declarations only (enum, struct, #define NAME NUMBER); code stands in others.
"""

import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import cffi
import numpy as np

from xdp import INCLUDE

_TYPES = "typedef uint8_t __u8; typedef uint16_t __u16; typedef uint32_t __u32; typedef uint64_t __u64;"
_ENUMERATOR = re.compile(r"^\s*([A-Z][A-Z0-9_]*)\b[^,/\n]*,?[ \t]*/\*\s*(.*?)\s*\*/", re.M)
_DEFINE = re.compile(r"^#define\s+([A-Z][A-Z0-9_]*)\s+(0x[0-9a-fA-F]+|\d+)U?L*\b", re.M)
_COMMENT = re.compile(r"/\*.*?\*/", re.S)
_GUARD = re.compile(r"^#(?:ifndef|endif|define\s+OVERSPRAY_\w+\s*$).*$", re.M)
_INCLUDED = re.compile(r'^#include\s+"([\w.]+)"', re.M)
_STRUCT = re.compile(r"\bstruct\s+(\w+)\s*{([^{}]*)}\s*;")
_WORD = re.compile(r"\b([A-Z][A-Z0-9_]*)\b")
_PACKED = "__attribute__((packed))"


@dataclass(frozen=True)
class Header:
    """What one header declares."""

    name: str
    constants: dict[str, int]
    descriptions: dict[str, str]
    _ffi: Any

    def enum(self, name: str) -> dict[str, int]:
        """Enumerators of ``enum name`` with their values, in order."""
        elements: dict[int, str] = self._ffi.typeof(f"enum {name}").elements
        return {text: value for value, text in sorted(elements.items())}

    def struct(self, name: str) -> np.dtype[np.void]:
        """``struct name`` as a numpy dtype with the compiler's offsets and padding."""
        dtype: np.dtype[np.void] = np.dtype(_dtype(self._ffi.typeof(f"struct {name}")))
        return dtype


@cache
def header(name: str) -> Header:
    """Read ``xdp/include/NAME``."""
    text = (INCLUDE / name).read_text()
    constants = {key: int(value, 0) for key, value in _DEFINE.findall(text)}
    plain = _GUARD.sub("", _COMMENT.sub("", text))
    ffi = cffi.FFI()
    ffi.cdef(_TYPES)
    ffi.cdef(plain.replace(_PACKED, ""), packed=_PACKED in plain)
    return Header(name, constants, dict(_ENUMERATOR.findall(text)), ffi)


def struct_in(text: str, name: str) -> np.dtype[np.void]:
    """``struct NAME`` of a policy's header, with what that and the headers that it includes declare.

    Empty where it is of a form that is not read here: only its counters are wanted.
    """
    included = (INCLUDE / each for each in ["policy.h", *_INCLUDED.findall(text)])
    texts = [*(file.read_text() for file in included if file.exists()), text]
    constants = dict(header("policy.h").constants)
    ffi = cffi.FFI()
    ffi.cdef(_TYPES)
    for plain in (_COMMENT.sub("", each) for each in texts):
        constants |= {key: int(value, 0) for key, value in _DEFINE.findall(plain)}
        for found, members in _STRUCT.findall(plain):
            words = (str(constants.get(word, word)) for word in _WORD.split(members))
            known = "".join(words)
            with suppress(cffi.CDefError, cffi.FFIError):
                ffi.cdef(f"struct {found} {{{known}}};")
    try:
        shape: np.dtype[np.void] = np.dtype(_dtype(ffi.typeof(f"struct {name}")))
        return shape
    except (cffi.CDefError, cffi.FFIError, KeyError, AttributeError, TypeError):
        return np.dtype([])


def _dtype(ctype: Any) -> Any:
    if ctype.kind == "primitive":
        size = {"uint8_t": "u1", "uint16_t": "u2", "uint32_t": "u4", "uint64_t": "u8"}[ctype.cname]
        return np.dtype(size)
    if ctype.kind == "array":
        return np.dtype((_dtype(ctype.item), (ctype.length,)))
    return {
        "names": [field for field, _ in ctype.fields],
        "formats": [_dtype(info.type) for _, info in ctype.fields],
        "offsets": [info.offset for _, info in ctype.fields],
        "itemsize": cffi.FFI().sizeof(ctype),
    }


def counter_names(enum: str) -> list[str]:
    """``drop_ring`` for WIRE_DROP_RING of ``wire_counter``: the counters of one program, in order."""
    return [*counter_words(enum)]


def counter_words(enum: str) -> dict[str, str]:
    """What each counter of one program means, by its name; in order."""
    counters = header("counters.h")
    prefix = enum.removesuffix("_counter").upper() + "_"
    names = [*counters.enum(enum)][:-1]
    return {name.removeprefix(prefix).lower(): counters.descriptions[name] for name in names}
