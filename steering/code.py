"""Compiled text as plain data: the instructions of its functions, and the maps that they name.

bcc takes a quarter of a second for the smallest text. So what it made is kept, as a file below ``/run``, for
every later module of the same text, headers, flags, kernel and compiler; each has its own maps and programs.
"""

import base64
import ctypes
import json
import os
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import numpy as np

from steering.bpf import MapShape

FOLDER = Path("/run/overspray/compiled")
"""Only root writes there, and it is gone after a reboot."""
_MOST_KEPT = 200
"""Files; a compilation is 2 to 50 KiB."""
_INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)
_INSTRUCTION = np.dtype([("code", "u1"), ("registers", "u1"), ("offset", "<i2"), ("value", "<i4")])
_SHAPE = ("type", "key_size", "leaf_size", "max_entries", "flags")
_LOAD_64 = 0x18
_IS_MAP = 1
"""BPF_PSEUDO_MAP_FD, in the place of the source register."""


@dataclass(frozen=True)
class Code:
    """What one text compiled to. In the instructions a map is its place in ``maps``, not a descriptor."""

    functions: Mapping[str, bytes]
    maps: tuple[MapShape, ...]

    @classmethod
    def of(cls, compiled: Any) -> Self:
        """What bcc holds (``bcc.BPF``)."""
        from bcc.libbcc import lib

        module = compiled.module
        names = [lib.bpf_function_name(module, at) for at in range(lib.bpf_num_functions(module))]
        # bcc's binding does not say what this one takes: a pointer beyond 4 GiB would be cut short.
        count = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_void_p)(("bpf_num_tables", lib))
        maps = range(count(module))
        places = {_asked(lib, "fd_id", module, at): at for at in maps}
        shapes = [
            MapShape(
                _asked(lib, "name", module, at, ctypes.c_char_p).decode(),
                *(_asked(lib, f"{what}_id", module, at) for what in _SHAPE),
            )
            for at in maps
        ]
        functions = {name.decode(): _renamed(compiled.dump_func(name), places) for name in names}
        return cls(functions, tuple(shapes))

    def linked(self, function: str, maps: Sequence[int]) -> bytes:
        """The function's instructions, with these descriptors for its maps."""
        return _renamed(self.functions[function], dict(enumerate(maps)))

    def as_json(self) -> str:
        """Read with :meth:`of_json`."""
        functions = {name: base64.b85encode(code).decode() for name, code in self.functions.items()}
        return json.dumps({"functions": functions, "maps": [asdict(each) for each in self.maps]})

    @classmethod
    def of_json(cls, text: str) -> Self:
        """Raises ValueError, KeyError or TypeError where it is no such thing."""
        found = json.loads(text)
        functions = {name: base64.b85decode(code) for name, code in found["functions"].items()}
        return cls(functions, tuple(MapShape(**each) for each in found["maps"]))


def kept(key: str) -> Code | None:
    """What was saved under that key; None where nothing was, or nothing that can be read."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        file = FOLDER / f"{key}.json"
        found = Code.of_json(file.read_text())
        os.utime(file)  # used now
        return found
    return None


def keep(key: str, code: Code) -> None:
    """Save it, where that can be done; what was used for the longest goes."""
    with suppress(OSError):
        FOLDER.mkdir(mode=0o755, parents=True, exist_ok=True)
        part = FOLDER / f".{key}.{os.getpid()}"
        part.write_text(code.as_json())
        part.rename(FOLDER / f"{key}.json")
        forget_oldest("*.json")


def forget_oldest(pattern: str) -> None:
    """Of the files of one kind, what was used for the longest goes."""
    with suppress(OSError):
        files = sorted(FOLDER.glob(pattern), key=lambda file: file.stat().st_mtime)
        for file in files[:-_MOST_KEPT]:
            file.unlink(missing_ok=True)


def key_of(text: str, folders: Sequence[Path], flags: Sequence[str], compiler: str) -> str:
    """All that decides what a text compiles to; empty where a header is not found: compile, to be told."""
    digest = sha256()
    try:
        for part in (text, *_headers(text, folders, set())):
            digest.update(part.encode() + b"\0")
    except OSError:
        return ""
    for part in (*flags, compiler, platform.release(), platform.machine()):
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()[:32]


def _headers(text: str, folders: Sequence[Path], seen: set[Path]) -> Iterator[str]:
    """The text of every header that is included by ``"…"``, and of those that they include."""
    for name in _INCLUDE.findall(text):
        path = next((folder / name for folder in folders if (folder / name).exists()), Path(name))
        if path in seen:
            continue
        seen.add(path)
        found = path.read_text()
        yield found
        yield from _headers(found, [path.parent, *folders], seen)


def _asked(lib: Any, what: str, module: int, at: int, kind: Any = ctypes.c_int) -> Any:
    """One of bcc's ``bpf_table_…`` functions that take a map's number; not all of them are in its binding."""
    prototype = ctypes.CFUNCTYPE(kind, ctypes.c_void_p, ctypes.c_size_t)
    return prototype((f"bpf_table_{what}", lib))(module, at)


def _renamed(code: bytes, maps: Mapping[int, int]) -> bytes:
    """With another number for each map. A load of 64 bits has two places, and the number is in the first."""
    found = np.frombuffer(code, _INSTRUCTION).copy()
    places = np.flatnonzero((found["code"] == _LOAD_64) & (found["registers"] >> 4 == _IS_MAP))
    for at in places:
        found["value"][at] = maps[int(found["value"][at])]
    return found.tobytes()
