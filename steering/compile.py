"""Compiles BPF sources with bcc and keeps what came of it open.

The programs of one unit are compiled from one text, so that they share their maps. bcc talks to a
person on stderr; here its words become one line with file and line number.
"""

import contextlib
import ctypes
import os
import re
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steering import bpf
from steering.closing import Closing
from steering.errors import OversprayError
from steering.faults import Fault
from steering.headers import header_tree
from steering.layout import header
from xdp import INCLUDE, SOURCES

_compiling = threading.Lock()  # stderr is the process's; so is bcc's environment variable
_ERROR = re.compile(r"^(?P<file>[^\s:]+):(?P<line>\d+):\d+: (?:fatal )?error: (?P<what>.*)$", re.M)

_CHATTER = re.compile(r"\d+: |from |cur state|old state|processed |bpf: |; ")
"""Lines of the verifier's log that are no reason."""
_PLAINLY = {
    "infinite loop detected": "a loop that may never end: give it a constant bound",
    "Argument list too long": "too many ways through it: give loops a small constant bound",
}


class CompileError(OversprayError):
    """The source did not compile, or the verifier refused it; ``found`` are all of its faults."""

    def __init__(self, message: str, found: Sequence[Fault] = ()) -> None:
        self.found = list(found)
        super().__init__(message)


class Module(Closing):
    """BPF programs and maps compiled together. A context manager: at its end all are closed.

    Tracepoint programs run from construction on; others are loaded by :meth:`load`.
    """

    def __init__(
        self,
        *sources: str,
        defines: dict[str, str | int] | None = None,
        include: str = "",
        strange: bool = False,
    ) -> None:
        """Compile ``sources`` (names in ``xdp/``) as one text.

        ``include`` is the text of ``knobs.h``, where a unit wants one. A ``strange`` text, with a
        part that is not ours, is tried in another process first: LLVM ends the process over some
        errors, such as a stack that is too large.

        Raises:
            CompileError: with file and line of the first error.
        """
        self.name = "+".join(source.removesuffix(".bpf.c") for source in sources)
        text = "".join(
            f'#line 1 "{source}"\n{(SOURCES / source).read_text()}' for source in sources
        )
        # Headers are read as words of other types, as everywhere in the kernel.
        flags = [
            "-fno-strict-aliasing",
            f"-I{INCLUDE}",
            *(f"-D{key}={value}" for key, value in (defines or {}).items()),
        ]
        self._bcc = _compile(self.name, text, flags, include, strange)
        self._programs: dict[str, int] = {}

    def load(self, function: str, kind: int, attach_type: int = 0) -> int:
        """Load one function as a program; returns its descriptor.

        Raises:
            CompileError: the verifier refused it, with the source line it stopped at.
        """
        if function not in self._programs:
            with _compiling, _captured_stderr() as words:
                try:
                    loaded = self._bcc.load_func(function.encode(), kind, None, attach_type or -1)
                except Exception:
                    raise _refusal(function, words()) from None
            self._programs[function] = loaded.fd
        return self._programs[function]

    def fd(self, table: str) -> int:
        """Descriptor of a map."""
        from bcc.libbcc import lib  # bcc's own view of a map takes no leaf of 4 bytes

        number = int(lib.bpf_table_fd(self._bcc.module, table.encode()))
        if number < 0:
            raise KeyError(table)
        return number

    def put(self, table: str, key: int, value: bytes | np.void | NDArray[np.void]) -> None:
        """Set one element of an array map (of all cores, for a per-core one)."""
        raw = value if isinstance(value, bytes) else value.tobytes()
        bpf.map_update(self.fd(table), struct.pack("=I", key), raw)

    def get(self, table: str, dtype: np.dtype[np.void], key: int = 0) -> NDArray[np.void]:
        """One element of an array map, shape ()."""
        return bpf.map_lookup(self.fd(table), struct.pack("=I", key), dtype)

    def counts(self, table: str, enum: str) -> NDArray[np.uint64]:
        """The per-core counters of a program: shape (possible cores, counters).

        Columns are the enumerators of ``enum`` in counters.h, see :func:`counter_names`.
        """
        width = len(counter_names(enum))
        dtype = np.dtype([("count", "<u8", (width,))])
        zero = struct.pack("=I", 0)
        return np.asarray(bpf.map_lookup(self.fd(table), zero, dtype, per_core=True)["count"])

    def total(self, table: str, enum: str) -> dict[str, int]:
        """The counters of a program summed over the cores, by name."""
        sums = self.counts(table, enum).sum(axis=0)
        return {name: int(value) for name, value in zip(counter_names(enum), sums, strict=True)}

    def instructions(self) -> dict[str, int]:
        """How many the verifier looked at, by loaded program; a tracepoint's by its name."""
        loaded = {
            name.decode().removeprefix("raw_tracepoint__"): function.fd
            for name, function in self._bcc.funcs.items()
        }
        return {name: bpf.prog_info(fd)[1] for name, fd in loaded.items()}

    def close(self) -> None:
        """Detach tracepoints, close programs and maps."""
        if self._bcc is not None:
            self._bcc.cleanup()
            self._bcc = None
            _give_back()


def counter_names(enum: str) -> list[str]:
    """``pass_tunnel`` for STEER_PASS_TUNNEL: the counters of one program, in order."""
    words = [*header("counters.h").enum(enum)][:-1]
    prefix = enum.removesuffix("_counter").upper() + "_"
    return [word.removeprefix(prefix).lower() for word in words]


def _compile(name: str, text: str, flags: list[str], include: str, strange: bool) -> Any:
    from bcc import BPF

    with _compiling, tempfile.TemporaryDirectory() as folder, _captured_stderr() as words:
        Path(folder, "knobs.h").write_text(include)
        before = os.environ.get("BCC_KERNEL_SOURCE")
        os.environ["BCC_KERNEL_SOURCE"] = str(header_tree())
        given = {"text": text.encode(), "cflags": [*flags, f"-I{folder}"]}
        try:
            if strange and not _survived(lambda: BPF(**given)):
                raise CompileError(f"compile '{name}': {_last_words(words())}")
            return BPF(**given)
        except CompileError:
            raise
        except Exception as error:
            places = _ERROR.finditer(words())
            found = [Fault(at["file"], int(at["line"]), at["what"]) for at in places]
            # What is no fault of the text (a map that got no memory) is in bcc's last words only.
            said = words().strip().splitlines()
            reason = str(found[0]) if found else said[-1] if said else str(error)
            raise CompileError(f"compile '{name}': {reason}", found) from None
        finally:
            if before is None:
                del os.environ["BCC_KERNEL_SOURCE"]
            else:
                os.environ["BCC_KERNEL_SOURCE"] = before
            _give_back()


def _give_back() -> None:
    """What LLVM has freed: glibc would keep it, once for each thread that ever compiled."""
    with contextlib.suppress(AttributeError):  # a C library that has no such call keeps nothing
        ctypes.CDLL(None).malloc_trim(0)


def _survived(action: Callable[[], object]) -> bool:
    """Whether a process that does this ends it by itself; what it raises does not count."""
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            action()
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def _last_words(log: str) -> str:
    """What LLVM said when it gave up."""
    said = re.search(r"(?:LLVM ERROR|error): (?P<what>.*)", log)
    return said["what"] if said else "the compiler gave up without a reason"


@contextlib.contextmanager
def _captured_stderr() -> Iterator[Any]:
    """What C libraries write to descriptor 2 meanwhile, as a function that returns the text."""
    with tempfile.TemporaryFile() as file:
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


def _refusal(function: str, log: str) -> CompileError:
    """The verifier's last words and the source line that it was at."""
    lines: Sequence[str] = [line for line in log.splitlines() if line.strip()]
    place = next((line for line in reversed(lines) if line.startswith("; ")), "")
    at = place.rpartition("@ ")[2] if "@ " in place else "an unknown line"
    said = [line for line in lines if not _CHATTER.match(line)]
    known = (plain for words, plain in _PLAINLY.items() if words in log)
    reason = next(known, said[-1] if said else "no reason given")
    file, _, line = at.rpartition(":")
    found = [Fault(file, int(line), reason)] if file and line.isdecimal() else []
    return CompileError(f"the verifier refused '{function}' at {at}: {reason}", found)
