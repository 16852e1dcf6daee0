"""The one reader of the C headers: enums, structs and their comments become Python values.

Headers read here hold declarations only (enum, struct, #define NAME NUMBER); code stands in others.
"""

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

import cffi
import numpy as np

from xdp import INCLUDE

_TYPES = (
    "typedef uint8_t __u8; typedef uint16_t __u16; typedef uint32_t __u32; typedef uint64_t __u64;"
)
_BIG_ENDIAN = "typedef uint16_t __be16; typedef uint32_t __be32; typedef uint64_t __be64;"
_ENUMERATOR = re.compile(r"^\s*([A-Z][A-Z0-9_]*)\b[^,/\n]*,?[ \t]*/\*\s*(.*?)\s*\*/", re.M)
_DEFINE = re.compile(r"^#define\s+([A-Z][A-Z0-9_]*)\s+(0x[0-9a-fA-F]+|\d+)U?L*\b", re.M)
_COMMENT = re.compile(r"/\*.*?\*/", re.S)
_DIRECTIVE = re.compile(r"^#.*$", re.M)


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
def header(name: str, *before: str) -> Header:
    """Read ``xdp/include/NAME``; ``before`` are headers whose declarations it uses."""
    texts = [(INCLUDE / each).read_text() for each in (*before, name)]
    constants = {key: int(value, 0) for text in texts for key, value in _DEFINE.findall(text)}
    ffi = cffi.FFI()
    ffi.cdef(_TYPES + _BIG_ENDIAN)
    for text in texts:
        plain = _DIRECTIVE.sub("", _COMMENT.sub("", text))
        for key, value in constants.items():
            plain = re.sub(rf"\b{key}\b", str(value), plain)
        packed = "__attribute__((packed))" in plain
        ffi.cdef(re.sub(r"__attribute__\(\(\w+(\(\d+\))?\)\)", "", plain), packed=packed)
    return Header(name, constants, dict(_ENUMERATOR.findall(texts[-1])), ffi)


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
        "itemsize": _sizeof(ctype),
    }


def _sizeof(ctype: Any) -> int:
    return int(cffi.FFI().sizeof(ctype))
