"""Compiles a BPF source with bcc, makes its maps, loads its programs, and keeps them open.

bcc talks to a person on stderr; here its words become one line with file and line number.
"""

import ctypes
import errno
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steering import bpf, code, headers
from steering.bpf import Kind, Map, NewMap, last_words
from steering.closing import Closing
from steering.code import Code
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
    """The source did not compile, or the verifier refused it: with file, line and reason, where known."""

    def __init__(self, message: str, place: str = "", reason: str = "") -> None:
        """``place`` is FILE:LINE, or empty."""
        super().__init__(message)
        self.place, self.reason = place, reason or message


class Module(Closing):
    """The programs and maps of sources in ``xdp/``. A context manager: at its end all are closed."""

    def __init__(
        self, *sources: str, defines: Mapping[str, str | int] | None = None, include: Sequence[Path] = ()
    ) -> None:
        """Compile them as one text: later ones know the maps of earlier ones, and headers in ``include``.

        What was compiled before, by anybody on this host, is not compiled again (`steering.code`).
        CompileError names file and line of the first error.
        """
        self.name = sources[0]
        text = "".join(_numbered(source, (SOURCES / source).read_text()) for source in sources)
        flags = [*WARNINGS, *(f"-I{folder}" for folder in (INCLUDE, *include))]
        flags += [f"-D{key}={value}" for key, value in (defines or {}).items()]
        self._compile = partial(_compile, self.name, text, flags)
        included = "".join(f'#include "{value}"\n' for value in _paths(defines or {}))
        self._code = _compiled(self._compile, text + included, [INCLUDE, *include], flags)
        self._programs: dict[tuple[str, Kind], int] = {}
        self._maps: dict[str, NewMap] = {}
        with ExitStack() as stack:  # what was opened is closed if the rest fails
            for shape in self._code.maps:
                self._maps[shape.name] = stack.enter_context(NewMap(shape))
            self._open = stack.pop_all()

    def load(self, function: str, kind: Kind) -> int:
        """Load one function as a program of that kind; returns its descriptor, which stays ours.

        CompileError says at which line of our source the verifier stopped, and its last words.
        """
        if (function, kind) not in self._programs:
            if function not in self._code.functions:
                raise CompileError(f"load '{function}': {self.name} has no such function")
            linked = self._code.linked(function, [each.fd for each in self._maps.values()])
            try:
                program = self._open.enter_context(bpf.Program(linked, kind, function, quiet=True))
            except bpf.BpfError as error:
                raise self._refused(function, kind, error) from None
            self._programs[function, kind] = program.fd
        return self._programs[function, kind]

    def map(self, name: str) -> Map:
        """One of its maps; it lives as long as the module."""
        shape = next((each for each in self._code.maps if each.name == name), None)
        if shape is None:
            raise KeyError(f"{self.name} has no map '{name}'")
        return Map(self._maps[name].fd, shape.value, name, per_core=shape.type in _PER_CORE)

    def counts(self, table: str, enum: str) -> dict[str, NDArray[np.uint64]]:
        """Per-core counters by name, each of shape (possible cores,): see counters.h."""
        counters = counter_names(enum)
        dtype = np.dtype([(name, "<u8") for name in counters])
        rows = self.map(table).get(dtype)
        return {name: rows[name] for name in counters}

    def close(self) -> None:
        """Close programs and maps. Closing twice is harmless."""
        self._open.close()

    def _refused(self, function: str, kind: Kind, error: bpf.BpfError) -> CompileError:
        """Once more by bcc: it has told the kernel which instruction is of which line."""
        compiled = self._compile()
        try:
            with _compiling, _captured_stderr() as words:
                try:
                    compiled.load_func(function.encode(), kind.type, None, kind.attach_type or -1)
                except Exception as reason:
                    log = _long_log(compiled, function, kind) if error.errno == errno.E2BIG else words()
                    return _refusal(function, log, reason)
        finally:
            compiled.cleanup()
        return CompileError(f"load '{function}': {os.strerror(error.errno)}")


def _paths(defines: Mapping[str, str | int]) -> list[str]:
    """Files that are included by a name that is defined, such as a policy's."""
    texts = [str(value).strip('"') for value in defines.values() if str(value).startswith('"')]
    return [text for text in texts if Path(text).exists()]


def _compiled(compile_: Callable[[], Any], text: str, folders: Sequence[Path], flags: Sequence[str]) -> Code:
    try:
        compiler = version("bcc")
    except PackageNotFoundError:
        compiler = ""
    key = code.key_of(text, folders, [*flags, *headers.find().flags], compiler)
    if key and (found := code.kept(key)):
        return found
    compiled = compile_()
    try:
        made = Code.of(compiled)
    finally:
        compiled.cleanup()
    if key:
        code.keep(key, made)
    return made


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
        at, what = f"{place['file']}:{place['line']}", place["what"]
        return CompileError(f"compile {name}: {at}: {what}", at, what)
    # What is no fault of the text, as a map that got no memory, is in bcc's last words only.
    said = log.strip().splitlines() or [str(error)]
    return CompileError(f"compile {name}: {said[-1]}")


def _long_log(compiled: Any, function: str, kind: Kind) -> str:
    """The end of the verifier's log where it gave up: bcc asks for none then. The end, since Linux 6.4."""
    from bcc.libbcc import lib

    log = ctypes.create_string_buffer(1 << 20)
    module, name = compiled.module, function.encode()
    fd = lib.bcc_func_load(
        *(module, kind.type, name, lib.bpf_function_start(module, name), lib.bpf_function_size(module, name)),
        *(lib.bpf_module_license(module), lib.bpf_module_kern_version(module)),
        *(1, log, len(log), None, kind.attach_type or -1),
    )
    if fd >= 0:
        os.close(fd)
    return log.value.decode(errors="replace")


def _refusal(function: str, log: str, error: Exception) -> CompileError:
    """The verifier's last words, and the line of our source that it was at."""
    places = re.findall(r"^; .*@ (\S+:\d+)\s*$", log, re.M)
    reason = last_words(log)
    # Where it gave up says nothing: where it was all the time does.
    place = max(places, key=places.count) if places and "too large" in reason else (places or [""])[-1]
    at = f" at {place}" if place else ""
    if not reason:  # no rights, no memory, no such function
        return CompileError(f"load '{function}': {error}")
    return CompileError(f"the verifier refused '{function}'{at}: {reason}", place, reason)


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
