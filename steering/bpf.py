"""The bpf(2) calls that bcc lacks: links, atomic replacement, live test runs, whole-map reads.

Numbers come from the kernel's UAPI (include/uapi/linux/bpf.h), which never renumbers them.
"""

import ctypes
import errno
import mmap
import os
import platform
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike, NDArray

from steering.errors import OversprayError

PROG_TYPE_SOCKET_FILTER = 1
PROG_TYPE_SCHED_CLS = 3
PROG_TYPE_TRACEPOINT = 5
PROG_TYPE_XDP = 6
PROG_TYPE_RAW_TRACEPOINT = 17
ATTACH_XDP_DEVMAP = 33
ATTACH_XDP_CPUMAP = 35
ATTACH_XDP = 37
ATTACH_TCX_INGRESS = 46
ATTACH_TCX_EGRESS = 47
BEFORE_ALL = 1 << 3
"""Flag of a tcx link: ahead of those that are there (BPF_F_BEFORE)."""
GET_NETNS_COOKIE = 122
XDP_PASS, TCX_NEXT = 2, -1

XDP_FLAGS_SKB_MODE = 1 << 1
XDP_FLAGS_DRV_MODE = 1 << 2

_MAP_LOOKUP_ELEM, _MAP_UPDATE_ELEM, _MAP_DELETE_ELEM, _MAP_GET_NEXT_KEY = 1, 2, 3, 4
_PROG_LOAD, _PROG_TEST_RUN, _OBJ_GET_INFO_BY_FD, _MAP_LOOKUP_BATCH = 5, 10, 15, 24
_LINK_CREATE, _LINK_UPDATE, _ENABLE_STATS = 28, 29, 32
_F_TEST_RUN_ON_CPU, _F_TEST_XDP_LIVE_FRAMES = 1 << 0, 1 << 1
_BPF_SYSCALL = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "s390x": 351, "ppc64le": 361}

_libc = ctypes.CDLL(None, use_errno=True)
_LOG_SIZE = 1 << 23


class BpfError(OversprayError):
    """A bpf(2) call failed; ``errno`` keeps the kernel's number, ``log`` the verifier's words."""

    def __init__(self, what: str, errno: int, log: str = "") -> None:
        self.errno = errno
        self.log = log
        tail = f": {log.strip().splitlines()[-1]}" if log.strip() else ""
        super().__init__(f"{what}: {os.strerror(errno)}{tail}")


def _bpf(command: int, attr: bytes | ctypes.Array[ctypes.c_char], what: str) -> int:
    buffer = (
        attr if isinstance(attr, ctypes.Array) else ctypes.create_string_buffer(attr, len(attr))
    )
    number = _BPF_SYSCALL.get(platform.machine())
    if number is None:
        raise OversprayError(f"bpf(2): its number on {platform.machine()} is not known here")
    result = int(_libc.syscall(number, command, buffer, len(buffer)))
    if result < 0:
        raise BpfError(what, ctypes.get_errno())
    return result


def _address(buffer: object) -> int:
    return ctypes.addressof(buffer)  # type: ignore[arg-type]


def returning(value: int) -> bytes:
    """A program of two instructions that returns ``value``: ``r0 = value; exit``."""
    return struct.pack("=BBhiBBhi", 0xB7, 0, 0, value, 0x95, 0, 0, 0)


def prog_load(
    instructions: bytes, prog_type: int, expected_attach_type: int = 0, name: str = "probe"
) -> int:
    """Load raw instructions (8 bytes each); returns the program's descriptor, to be closed."""
    insns = ctypes.create_string_buffer(instructions, len(instructions))
    licence = ctypes.create_string_buffer(b"GPL")

    def load(log: ctypes.Array[ctypes.c_char] | None) -> int:
        attr = struct.pack(
            "=IIQQIIQIi16sII",
            prog_type,
            len(instructions) // 8,
            _address(insns),
            _address(licence),
            log is not None,
            0 if log is None else len(log),
            0 if log is None else _address(log),
            0,
            0,
            name.encode()[:15],
            0,
            expected_attach_type,
        )
        return _bpf(_PROG_LOAD, attr, f"load program '{name}'")

    try:
        return load(None)
    except BpfError as error:
        # Only now: a log that does not fit makes the kernel refuse what it would have taken.
        log = ctypes.create_string_buffer(_LOG_SIZE)
        with suppress(BpfError):
            os.close(load(log))
        said = log.value.decode(errors="replace")
        raise BpfError(f"load program '{name}'", error.errno, said) from None


def has_helper(prog_type: int, number: int) -> bool:
    """Whether programs of a kind may call a helper (enum bpf_func_id)."""
    call = struct.pack("=BBhi", 0x85, 0, 0, number)  # with the context, in r1
    done = returning(0)
    try:
        os.close(prog_load(call + done, prog_type))
    except BpfError:
        return False
    return True


@cache
def has_tcx() -> bool:
    """Whether tc programs can hang on links (kernel 6.6): one to no device is refused otherwise."""
    program = prog_load(returning(TCX_NEXT), PROG_TYPE_SCHED_CLS)
    try:
        os.close(link_create(program, 0, ATTACH_TCX_INGRESS))
    except BpfError as error:
        return error.errno == errno.ENODEV
    finally:
        os.close(program)
    return True


@dataclass(frozen=True)
class TestRun:
    """What a test run returned: the program's verdict, the packet after it, ns per repetition."""

    __test__ = False  # not a test case, whatever pytest thinks of the name

    retval: int
    data: bytes
    duration_ns: int


def prog_test_run(
    fd: int,
    data: bytes,
    *,
    repeat: int = 1,
    ifindex: int = 0,
    rx_queue: int = 0,
    context: bytes | None = None,
    live: bool = False,
    batch: int = 0,
) -> TestRun:
    """Run a program on ``data`` (BPF_PROG_TEST_RUN).

    ``ifindex`` (looked up in the calling thread's network namespace) is the device an XDP program
    sees the packet arrive on. With ``live`` the program's verdicts are carried out on real frames
    (BPF_F_TEST_XDP_LIVE_FRAMES, kernel 5.18), ``batch`` at a time, and no data comes back.
    A signal ends a live run early with EINTR, which is raised as BpfError.
    """
    source = ctypes.create_string_buffer(data, len(data))
    out = None if live else ctypes.create_string_buffer(len(data) + 1024)
    if context is None and (ifindex or live):
        context = struct.pack("=6I", 0, len(data), 0, ifindex, rx_queue, 0)
    ctx = ctypes.create_string_buffer(context, len(context)) if context else None
    attr = ctypes.create_string_buffer(
        struct.pack(
            "=4IQQ4IQQ3II",
            fd,
            0,
            len(data),
            0 if out is None else len(out),
            _address(source),
            0 if out is None else _address(out),
            repeat,
            0,
            0 if ctx is None else len(ctx),
            0,
            0 if ctx is None else _address(ctx),
            0,
            _F_TEST_XDP_LIVE_FRAMES if live else 0,
            0,
            batch,
            0,
        ),
        80,
    )
    _bpf(_PROG_TEST_RUN, attr, "test run")
    retval, _, size = struct.unpack_from("=III", attr.raw, 4)
    (duration,) = struct.unpack_from("=I", attr.raw, 36)
    return TestRun(retval, b"" if out is None else out.raw[:size], duration)


def run_on_core(fd: int, core: int) -> None:
    """Run a raw tracepoint program once on a core, in an interrupt (kernel 5.10)."""
    _bpf(
        _PROG_TEST_RUN, struct.pack("=I60xIII4x", fd, _F_TEST_RUN_ON_CPU, core, 0), "run on a core"
    )


@contextmanager
def stats_enabled() -> Iterator[None]:
    """Meanwhile the kernel times every run of every BPF program: see :func:`prog_runs`."""
    handle = _bpf(_ENABLE_STATS, struct.pack("=I", 0), "enable statistics")
    try:
        yield
    finally:
        os.close(handle)


def link_create(prog_fd: int, ifindex: int, attach_type: int, flags: int = 0) -> int:
    """Attach a program to a device of the calling thread's namespace through a bpf link.

    Closing the returned descriptor (or dying) detaches.
    """
    attr = struct.pack("=4I", prog_fd, ifindex, attach_type, flags).ljust(48, b"\0")
    return _bpf(_LINK_CREATE, attr, f"attach to interface {ifindex}")


def link_passing(ifindex: int) -> int:
    """An XDP link (native) of a program that passes all; needs the device's namespace."""
    program = prog_load(returning(XDP_PASS), PROG_TYPE_XDP, 0, "passing")
    try:
        return link_create(program, ifindex, ATTACH_XDP, XDP_FLAGS_DRV_MODE)
    finally:
        os.close(program)


def link_update(link_fd: int, prog_fd: int) -> None:
    """Atomically replace the program behind a link."""
    _bpf(_LINK_UPDATE, struct.pack("=4I", link_fd, prog_fd, 0, 0), "replace a program")


@dataclass(frozen=True)
class MapInfo:
    """What the kernel says of a map."""

    type: int
    id: int
    key_size: int
    value_size: int
    max_entries: int


def map_info(fd: int) -> MapInfo:
    """Type, id and sizes of the map behind a descriptor."""
    info = ctypes.create_string_buffer(88)
    _bpf(_OBJ_GET_INFO_BY_FD, struct.pack("=IIQ", fd, len(info), _address(info)), "map info")
    return MapInfo(*struct.unpack_from("=5I", info.raw))


def prog_info(fd: int) -> tuple[int, int]:
    """(id, verified instructions) of the program behind a descriptor; 0 where not reported."""
    info = ctypes.create_string_buffer(232)
    _bpf(_OBJ_GET_INFO_BY_FD, struct.pack("=IIQ", fd, len(info), _address(info)), "program info")
    (ident,) = struct.unpack_from("=I", info.raw, 4)
    (verified,) = struct.unpack_from("=I", info.raw, 216)
    return ident, verified


def prog_runs(fd: int) -> tuple[int, int]:
    """(ns, runs) of a program while statistics were enabled."""
    info = ctypes.create_string_buffer(232)
    _bpf(_OBJ_GET_INFO_BY_FD, struct.pack("=IIQ", fd, len(info), _address(info)), "program info")
    time, runs = struct.unpack_from("=QQ", info.raw, 192)
    return time, runs


def possible_cpus() -> int:
    """Number of possible cores: the width of a per-core map value."""
    text = Path("/sys/devices/system/cpu/possible").read_text().strip()
    return int(text.split(",")[-1].split("-")[-1]) + 1


def map_update(fd: int, key: bytes, value: bytes, flags: int = 0) -> None:
    """Set one element."""
    k = ctypes.create_string_buffer(key, len(key))
    v = ctypes.create_string_buffer(value, len(value))
    attr = struct.pack("=IIQQQ", fd, 0, _address(k), _address(v), flags)
    _bpf(_MAP_UPDATE_ELEM, attr, "update a map")


def map_delete(fd: int, key: bytes) -> bool:
    """Remove one element; False when it was not there."""
    k = ctypes.create_string_buffer(key, len(key))
    try:
        _bpf(_MAP_DELETE_ELEM, struct.pack("=IIQQQ", fd, 0, _address(k), 0, 0), "delete from a map")
    except BpfError as error:
        if error.errno == 2:
            return False
        raise
    return True


def map_lookup(
    fd: int, key: bytes, dtype: DTypeLike, *, per_core: bool = False
) -> NDArray[np.void]:
    """One element as a numpy scalar array: shape (), or (possible cores,) when ``per_core``.

    The kernel pads each core's value to 8 bytes; so must ``dtype``.
    """
    item = np.dtype(dtype)
    if per_core and item.itemsize % 8:
        raise ValueError(f"a per-core value must be a multiple of 8 bytes, not {item.itemsize}")
    out = np.zeros(possible_cpus() if per_core else 1, item)
    k = ctypes.create_string_buffer(key, len(key))
    attr = struct.pack("=IIQQQ", fd, 0, _address(k), out.ctypes.data, 0)
    _bpf(_MAP_LOOKUP_ELEM, attr, "look up in a map")
    return out if per_core else out.reshape(())


def map_keys(fd: int, key_size: int) -> list[bytes]:
    """All keys of a hash map, as of this walk."""
    keys: list[bytes] = []
    out = ctypes.create_string_buffer(key_size)
    previous = 0
    while True:
        try:
            attr = struct.pack("=IIQQQ", fd, 0, previous, _address(out), 0)
            _bpf(_MAP_GET_NEXT_KEY, attr, "walk a map")
        except BpfError as error:
            if error.errno == 2:
                return keys
            raise
        keys.append(out.raw)
        holder = ctypes.create_string_buffer(out.raw, key_size)
        previous = _address(holder)


def map_memory(fd: int, dtype: DTypeLike, entries: int) -> NDArray[np.void]:
    """An array map made with BPF_F_MMAPABLE as shared memory: shape (entries,).

    ``dtype`` must be a multiple of 8 bytes, the kernel's stride. The mapping lives as long as the
    array.
    """
    item = np.dtype(dtype)
    if item.itemsize % 8:
        raise ValueError(f"an array map's stride is a multiple of 8 bytes, not {item.itemsize}")
    size = -(-item.itemsize * entries // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
    return np.frombuffer(memory, item, entries)
