"""Compiles a BPF source with bcc, loads its programs, and keeps programs and maps open.

bcc talks to a person on stderr; here its words become one line with file and line number.
"""

import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steering import headers
from steering.bpf import Kind, Map, last_words
from steering.closing import Closing
from steering.errors import OversprayError
from steering.layout import counter_names
from xdp import INCLUDE, SOURCES

WARNINGS = ("-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror")
"""Over our own text and headers. The kernel's UAPI headers, the only others, are clean under them."""

_PER_CORE = {5, 6, 10}
"""``enum bpf_map_type``: hash, array and least-recently-used hash with a value for each core."""

# bcc changes the working directory, reads an environment variable and writes to descriptor 2, and all
# three are the process's: one compilation at a time.
_compiling = threading.Lock()
_ERROR = re.compile(r"^(?P<file>[^\s:]+):(?P<line>\d+):\d+: (?:fatal )?error: (?P<what>.*)$", re.M)


class CompileError(OversprayError):
    """The source did not compile, or the verifier refused it: with file, line and reason."""


class Module(Closing):
    """The programs and maps of sources in ``xdp/``. A context manager: at its end all are closed."""

    def __init__(
        self, *sources: str, defines: Mapping[str, str | int] | None = None, include: Sequence[Path] = ()
    ) -> None:
        """Compile them as one text: later ones know the maps of earlier ones, and headers in ``include``.

        CompileError names file and line of the first error.
        """
        self.name = sources[0]
        text = "".join(_numbered(source, (SOURCES / source).read_text()) for source in sources)
        flags = [*WARNINGS, *(f"-I{folder}" for folder in (INCLUDE, *include))]
        flags += [f"-D{key}={value}" for key, value in (defines or {}).items()]
        self._bcc = _compile(self.name, text, flags)
        self._programs: dict[str, int] = {}

    def load(self, function: str, kind: Kind) -> int:
        """Load one function as a program of that kind; returns its descriptor, which stays ours.

        CompileError says at which line of our source the verifier stopped, and its last words.
        """
        if function not in self._programs:
            with _compiling, _captured_stderr() as words:
                try:
                    attach_type = kind.attach_type or -1
                    loaded = self._bcc.load_func(function.encode(), kind.type, None, attach_type)
                except Exception as error:
                    raise _refusal(function, words(), error) from None
            self._programs[function] = loaded.fd
        return self._programs[function]

    def map(self, name: str) -> Map:
        """One of its maps; it lives as long as the module."""
        from bcc.libbcc import lib  # bcc's own view of a map can't take values of any size

        module, key = self._bcc.module, name.encode()
        fd = int(lib.bpf_table_fd(module, key))
        if fd < 0:
            raise KeyError(f"{self.name} has no map '{name}'")
        per_core = int(lib.bpf_table_type(module, key)) in _PER_CORE
        return Map(fd, int(lib.bpf_table_leaf_size(module, key)), name, per_core=per_core)

    def counts(self, table: str, enum: str) -> dict[str, NDArray[np.uint64]]:
        """Per-core counters by name, each of shape (possible cores,): see counters.h."""
        counters = counter_names(enum)
        dtype = np.dtype([(name, "<u8") for name in counters])
        rows = self.map(table).get(dtype)
        return {name: rows[name] for name in counters}

    def close(self) -> None:
        """Close programs and maps. Closing twice is harmless."""
        if self._bcc is not None:
            self._bcc.cleanup()
            self._bcc = None


def _numbered(name: str, text: str) -> str:
    """The text with its name and lines for messages; bcc would call it /virtual/main.c.

    bcc adds lines of its own before a function and behind its opening brace: count anew after each.
    """
    numbered = [f'#line 1 "{name}"']
    for number, line in enumerate(text.splitlines(), 1):
        numbered.append(line)
        if line == "{":
            numbered.append(f"#line {number + 1}")
    return "\n".join(numbered) + "\n"


def _compile(name: str, text: str, flags: list[str]) -> Any:
    try:
        from bcc import BPF
    except ImportError as error:
        raise OversprayError(
            f"no bcc in this Python ({error}): type 'make setup', and use .venv/bin/overspray"
        ) from None
    with _compiling:
        try:
            Path.cwd()  # bcc leaves it, and comes back
        except FileNotFoundError:
            raise OversprayError(
                f"compile {name}: the current folder is gone: 'cd' to one that exists"
            ) from None
        found = headers.find()
        with _environment(headers.VARIABLE, str(found.source)), _captured_stderr() as words:
            try:
                return BPF(text=text.encode(), cflags=[*flags, *found.flags])
            except Exception as error:
                raise _fault(name, words(), error) from None


def _fault(name: str, log: str, error: Exception) -> CompileError:
    """The first error of the compiler, with our file and line."""
    if place := _ERROR.search(log):
        return CompileError(f"compile {name}: {place['file']}:{place['line']}: {place['what']}")
    # What is no fault of the text, as a map that got no memory, is in bcc's last words only.
    said = log.strip().splitlines() or [str(error)]
    return CompileError(f"compile {name}: {said[-1]}")


def _refusal(function: str, log: str, error: Exception) -> CompileError:
    """The verifier's last words, and the line of our source that it was at."""
    place = next((line for line in reversed(log.splitlines()) if line.startswith("; ") and "@ " in line), "")
    at = f" at {place.rpartition('@ ')[2].strip()}" if place else ""
    reason = last_words(log)
    if not reason:  # no rights, no memory, no such function
        return CompileError(f"load '{function}': {error}")
    return CompileError(f"the verifier refused '{function}'{at}: {reason}")


@contextmanager
def _environment(variable: str, value: str) -> Iterator[None]:
    before = os.environ.get(variable)
    os.environ[variable] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before


@contextmanager
def _captured_stderr() -> Iterator[Callable[[], str]]:
    """What C libraries write to descriptor 2 meanwhile, as a function that returns the text."""
    with os.fdopen(os.memfd_create("stderr"), "w+b") as file:  # needs no folder to write to
        saved = os.dup(2)
        os.dup2(file.fileno(), 2)

        def words() -> str:
            file.seek(0)
            return file.read().decode(errors="replace")

        try:
            yield words
        finally:
            os.dup2(saved, 2)
            os.close(saved)
