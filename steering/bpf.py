"""The bpf(2) calls that bcc lacks: links, live frames, map values of any size, raw instructions.

Numbers and structs come from the kernel's UAPI (include/uapi/linux/bpf.h), which never renumbers them.
Every file descriptor has one owner here: `Program`, `Map` and `Link` are context managers.
"""

import ctypes
import errno
import mmap
import os
import platform
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from steering import cores, libc
from steering.closing import Closing
from steering.errors import OversprayError

XDP_DROP, XDP_PASS = 1, 2
TCX_NEXT = -1
ATTACH_XDP, ATTACH_TCX_INGRESS, ATTACH_TCX_EGRESS = 37, 46, 47
XDP_GENERIC, XDP_NATIVE = 1 << 1, 1 << 2
"""Flags of an XDP link. Without one the kernel falls back to generic, and says nothing."""
_MAP_CPUMAP = 16

_SYSCALL = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361}  # little-endian ones
_MAP_CREATE, _MAP_LOOKUP, _MAP_UPDATE, _MAP_DELETE, _MAP_NEXT, _PROG_LOAD = 0, 1, 2, 3, 4, 5
_TEST_RUN, _OBJ_INFO, _QUERY, _RAW_TRACEPOINT_OPEN, _LINK_CREATE, _LINK_UPDATE = 10, 15, 16, 17, 28, 29
_ENABLE_STATS, _PROG_BY_ID = 32, 13
_RUN_ON_CPU, _LIVE_FRAMES = 1 << 0, 1 << 1
_PROG_INFO = 208
"""Bytes of struct bpf_prog_info up to run_time_ns and run_cnt, which end there."""
_LOG_SIZE = 1 << 20
_CHATTER = re.compile(
    r"HINT: |\d+: |from |cur state|old state|processed |verification time|stack depth|bpf: |; "
)


class Kind(Enum):
    """What a program is for: its type, and the attach type that it must be loaded with (0: none)."""

    SOCKET_FILTER = (1, 0)
    TC = (3, 0)
    XDP = (6, 0)
    PERF_EVENT = (7, 0)
    CPUMAP = (6, 35)
    RAW_TRACEPOINT = (17, 0)

    @property
    def type(self) -> int:
        """``enum bpf_prog_type``."""
        return self.value[0]

    @property
    def attach_type(self) -> int:
        """``enum bpf_attach_type``."""
        return self.value[1]


class BpfError(OversprayError):
    """A bpf(2) call failed; ``errno`` keeps the kernel's number."""

    def __init__(self, what: str, number: int, log: str = "") -> None:
        self.errno = number
        reason = last_words(log)
        super().__init__(f"{what}: {os.strerror(number)}{': ' if reason else ''}{reason}")


def last_words(log: str) -> str:
    """The verifier's reason: the last line of its log that is no account of what it did; may be empty."""
    said = [line for line in log.splitlines() if line.strip() and not _CHATTER.match(line)]
    return said[-1].strip() if said else ""


class Descriptor(Closing):
    """A file descriptor with one owner; closed at the end of its ``with`` block."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def close(self) -> None:
        """Close it; what only it held goes with it. Closing twice is harmless."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _bpf(command: int, attr: bytes, what: str) -> tuple[int, bytes]:
    """One call: its result, and ``attr`` as the kernel left it."""
    number = _SYSCALL.get(platform.machine())
    if number is None:
        raise OversprayError(f"bpf(2): its number on {platform.machine()} is not known here")
    buffer = ctypes.create_string_buffer(attr, 128)  # zeros behind attr: fields we do not use
    try:
        return libc.syscall(number, command, buffer, len(buffer)), buffer.raw
    except OSError as error:
        raise BpfError(what, error.errno or 0) from None


def _open(command: int, attr: bytes, what: str) -> int:
    """A call whose result is a descriptor."""
    return _bpf(command, attr, what)[0]


def _address(buffer: object) -> int:
    return ctypes.addressof(buffer)  # type: ignore[arg-type]


# --- programs ---


def returning(value: int) -> bytes:
    """A program of two instructions that returns ``value``: ``r0 = value; exit``."""
    return struct.pack("=BBhiBBhi", 0xB7, 0, 0, value, 0x95, 0, 0, 0)


class Program(Descriptor):
    """Raw instructions, 8 bytes each, loaded without a compiler. ``quiet``: a refusal has no words, which a
    large program may have too many of."""

    def __init__(self, instructions: bytes, kind: Kind, name: str = "probe", *, quiet: bool = False) -> None:
        code = ctypes.create_string_buffer(instructions, len(instructions))
        licence = ctypes.create_string_buffer(b"GPL")
        log = ctypes.create_string_buffer(0 if quiet else _LOG_SIZE)
        attr = struct.pack(
            "=IIQQIIQII16sII",
            *(kind.type, len(instructions) // 8, _address(code), _address(licence)),
            *((0, 0, 0) if quiet else (1, len(log), _address(log))),
            *(0, 0),
            *(name.encode()[:15], 0, kind.attach_type),
        )
        try:
            super().__init__(_open(_PROG_LOAD, attr, f"load program '{name}'"))
        except BpfError as error:
            said = log.value.decode(errors="replace")
            raise BpfError(f"load program '{name}'", error.errno, said) from None


def test_run(program: int, data: bytes) -> tuple[int, bytes]:
    """Run a program once on ``data``; returns its verdict and the packet after it."""
    verdict, out, _ = _test_run(program, data, 1)
    return verdict, out


def timed_run(program: int, data: bytes, repeat: int) -> int:
    """Run a program so many times on ``data``: whole ns a run, without those that others had the core."""
    return _test_run(program, data, repeat)[2]


def _test_run(program: int, data: bytes, repeat: int) -> tuple[int, bytes, int]:
    source = ctypes.create_string_buffer(data, len(data))
    out = ctypes.create_string_buffer(len(data) + 256)
    places = _address(source), _address(out)
    attr = struct.pack("=4IQQI", program, 0, len(data), len(out), *places, repeat)
    _, attr = _bpf(_TEST_RUN, attr, "test run")
    verdict, _, size = struct.unpack_from("=III", attr, 4)
    (duration,) = struct.unpack_from("=I", attr, 36)
    return verdict, out.raw[:size], duration


test_run.__test__ = False  # type: ignore[attr-defined]  # no test case, whatever pytest thinks


def run_live(program: int, frame: bytes, count: int, batch: int, ifindex: int = 1) -> bool:
    """Run an XDP program ``count`` times on real frames that its verdicts are carried out on.

    ``batch`` (1 to 256) frames are made before the receiver runs; ``ifindex`` is the device they seem
    to arrive on. Needs Linux 5.18. False where a signal ended it early: how many frames there were,
    only the program's own count says.
    """
    data = ctypes.create_string_buffer(frame, len(frame))
    context = ctypes.create_string_buffer(struct.pack("=6I", 0, len(frame), 0, ifindex, 0, 0), 24)
    attr = struct.pack(
        "=4IQQ4IQQ3I",
        *(program, 0, len(frame), 0, _address(data), 0),
        *(count, 0, len(context), 0, _address(context), 0),
        *(_LIVE_FRAMES, 0, batch),
    )
    try:
        _bpf(_TEST_RUN, attr, "live frames")
    except BpfError as error:
        if error.errno != errno.EINTR:
            raise
        return False
    return True


def run_on_core(program: int, core: int) -> int:
    """Run a RAW_TRACEPOINT program that reads no context once on a core; returns what it returned.

    On another core than the caller's it is an interrupt. Needs Linux 5.10.
    """
    attr = struct.pack("=I60xII", program, _RUN_ON_CPU, core)
    _, attr = _bpf(_TEST_RUN, attr, f"run on core {core}")
    return int(struct.unpack_from("=II", attr)[1])


@dataclass(frozen=True)
class Runs:
    """How often a program ran, and how long that took, in ns; while statistics were on."""

    count: int
    ns: int

    def __sub__(self, other: "Runs") -> "Runs":
        return Runs(self.count - other.count, self.ns - other.ns)


class Statistics(Descriptor):
    """While it is open the kernel times every program of this machine; that costs each run two clocks.

    Needs Linux 5.8.
    """

    def __init__(self) -> None:
        super().__init__(_open(_ENABLE_STATS, struct.pack("=I", 0), "time BPF programs"))


def runs(program: int) -> Runs:
    """What :class:`Statistics` have on a program since it was loaded."""
    info = ctypes.create_string_buffer(_PROG_INFO)
    _bpf(_OBJ_INFO, struct.pack("=IIQ", program, len(info), _address(info)), "ask for a program")
    ns, count = struct.unpack_from("=QQ", info.raw, _PROG_INFO - 16)
    return Runs(count, ns)


def verified(program: int) -> int | None:
    """How many instructions the verifier looked at to admit a program; None before Linux 5.16."""
    info = ctypes.create_string_buffer(_PROG_INFO + 16)
    _bpf(_OBJ_INFO, struct.pack("=IIQ", program, len(info), _address(info)), "ask for a program")
    # Behind the runs there is one word for runs that were missed.
    return int(struct.unpack_from("=I", info.raw, _PROG_INFO + 8)[0]) or None


# --- links: the kernel detaches when the last descriptor closes, however its process ends ---


class Link(Descriptor):
    """A program attached to a device of the calling thread's namespace."""

    def __init__(self, program: int, ifindex: int, attach_type: int, flags: int = 0) -> None:
        attr = struct.pack("=4I", program, ifindex, attach_type, flags)
        super().__init__(_open(_LINK_CREATE, attr, f"attach to interface {ifindex}"))

    def replace(self, program: int) -> None:
        """Atomic: each frame meets the old program or the new one."""
        _bpf(_LINK_UPDATE, struct.pack("=3I", self.fd, program, 0), "replace a program")


def count_attached(ifindex: int, attach_type: int) -> int:
    """How many programs a device of the calling thread's namespace has there, whoever attached them; 0 also
    where it is gone, or the kernel has no such place (tcx: Linux 6.6)."""
    attr = struct.pack("=4IQ2I", ifindex, attach_type, 0, 0, 0, 0, 0)
    try:
        return int(struct.unpack_from("=I", _bpf(_QUERY, attr, "ask for programs")[1], 24)[0])
    except BpfError as error:
        if error.errno not in (errno.EINVAL, errno.ENOENT, errno.ENODEV):
            raise
        return 0


def program_by_id(number: int) -> int:
    """A descriptor of a loaded program, whoever loaded it. BpfError where there is none of that number."""
    return _bpf(_PROG_BY_ID, struct.pack("=I", number), f"open program {number}")[0]


class Tracepoint(Descriptor):
    """A program that sees every event of a raw tracepoint, of all namespaces."""

    def __init__(self, program: int, name: str) -> None:
        text = ctypes.create_string_buffer(name.encode())
        attr = struct.pack("=QI", _address(text), program)
        super().__init__(_open(_RAW_TRACEPOINT_OPEN, attr, f"tracepoint '{name}'"))


# --- maps ---

Key = int | bytes
"""A u32, or a struct as it is in memory."""


class Map:
    """Elements of a map that somebody else owns: bytes or numpy scalars of ``size`` bytes.

    A per-core map has a value for each possible core, padded to 8 bytes each. The kernel reads and writes as
    many bytes as that makes, whatever it is given: so lengths are checked, with ValueError.
    """

    def __init__(self, fd: int, size: int, name: str = "map", *, per_core: bool = False) -> None:
        self.fd, self.name, self.per_core = fd, name, per_core
        self.size = -(-size // 8) * 8 if per_core else size

    def put(self, key: Key, value: bytes) -> None:
        """Set one element; of a per-core map the values of all cores."""
        self._check(len(value))
        buffer = ctypes.create_string_buffer(value, len(value))
        self._element(_MAP_UPDATE, key, _address(buffer), "write")

    def delete(self, key: Key) -> None:
        """Remove one element."""
        self._element(_MAP_DELETE, key, 0, "remove")

    def get(self, dtype: DTypeLike, key: Key = 0) -> NDArray[np.void]:
        """One element: shape (), or (possible cores,) of a per-core map."""
        out = np.zeros(cores.possible() if self.per_core else (), np.dtype(dtype))
        self._check(out.nbytes)
        self._element(_MAP_LOOKUP, key, out.ctypes.data, "read")
        return out

    def mapped(self, dtype: DTypeLike, *, writable: bool = False) -> NDArray[Any]:
        """All elements of an array made with BPF_F_MMAPABLE, in memory that they share; unmapped with what
        is returned. The kernel pads each to 8 bytes."""
        length = -(-self.size // 8) * 8 * self._info()[4]
        access = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        return np.frombuffer(mmap.mmap(self.fd, length, mmap.MAP_SHARED, access), np.dtype(dtype))

    def keys(self, size: int) -> Iterator[bytes]:
        """All keys, of so many bytes each, of a hash; not all of those that come meanwhile."""
        key, following = ctypes.create_string_buffer(size), ctypes.create_string_buffer(size)
        place = 0  # of no key: then the first one follows
        while True:
            attr = struct.pack("=I4xQQ", self.fd, place, _address(following))
            try:
                _bpf(_MAP_NEXT, attr, f"list {self.name}")
            except BpfError as error:
                if error.errno != errno.ENOENT:
                    raise
                return
            yield following.raw
            key.raw, place = following.raw, _address(key)

    def id(self) -> int:
        """The kernel's number for it, as tracepoints tell it."""
        return self._info()[1]

    def _info(self) -> tuple[int, ...]:
        """Type, id, sizes of key and value, number of elements: the first of struct bpf_map_info."""
        info = ctypes.create_string_buffer(88)
        _bpf(_OBJ_INFO, struct.pack("=IIQ", self.fd, len(info), _address(info)), f"ask for {self.name}")
        return struct.unpack_from("=5I", info.raw)

    def _check(self, length: int) -> None:
        wanted = self.size * (cores.possible() if self.per_core else 1)
        if length != wanted:
            raise ValueError(f"a value of {self.name} is {wanted} bytes, not {length}")

    def _element(self, command: int, key: Key, place: int, what: str) -> None:
        words = struct.pack("=I", key) if isinstance(key, int) else key
        index = ctypes.create_string_buffer(words, len(words))
        attr = struct.pack("=I4xQQQ", self.fd, _address(index), place, 0)
        shown = key if isinstance(key, int) else key.hex()
        _bpf(command, attr, f"{what} element {shown} of {self.name}")


@dataclass(frozen=True)
class MapShape:
    """What a map is to be: ``enum bpf_map_type``, bytes of a key and of a value, elements, flags."""

    name: str
    type: int
    key: int
    value: int
    entries: int
    flags: int = 0


class NewMap(Descriptor):
    """A map of that shape, until it is closed, and nothing uses it any more."""

    def __init__(self, shape: MapShape) -> None:
        sizes = (shape.type, shape.key, shape.value, shape.entries, shape.flags)
        attr = struct.pack("=7I16s", *sizes, 0, 0, shape.name.encode()[:15])
        super().__init__(_open(_MAP_CREATE, attr, f"make map '{shape.name}'"))


class CpuMap(NewMap):
    """A cpumap of its own, for trials: entry ``core`` is a thread on that core."""

    def __init__(self, entries: int) -> None:
        super().__init__(MapShape("cpumap", _MAP_CPUMAP, 4, 8, entries))

    def put(self, core: int, queue: int, program: int) -> None:
        """Start the thread: ``queue`` frames at the most wait for it; it runs a CPUMAP program."""
        Map(self.fd, 8, "cpumap").put(core, struct.pack("=Ii", queue, program))
