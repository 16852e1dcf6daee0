"""BPF programs compiled on the host for a guest: what is emulated is the kernel, not the compiler.

The guest asks through a folder that both see. The answer is what bcc made of the text, its maps
named by their places; the guest makes the maps, and its own kernel verifies, translates and runs
the rest. In a guest bcc itself would take a minute for each.
"""

import ctypes
import os
import pickle
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

from steering import bpf
from steering import compile as compiling

_TRACEPOINT = "raw_tracepoint__"
_MAP_CREATE, _RAW_TRACEPOINT_OPEN = 0, 17
_LOAD_IMMEDIATE, _OF_A_MAP = 0x18, 0x10
Wanted = tuple[str, str, list[str], str, bool]
"""The arguments of steering.compile._compile."""


@dataclass(frozen=True)
class Table:
    """A map: what bpf(2) wants to know to make it."""

    name: str
    shape: tuple[int, int, int, int, int]
    """Type, bytes of a key and of a value, entries, flags."""


@dataclass(frozen=True)
class Compiled:
    """Maps, and instructions by function; these name a map by its place among the maps."""

    tables: list[Table]
    functions: dict[str, bytes]


def on_host(wanted: Wanted) -> Compiled:
    """Compile here.

    Raises:
        CompileError: as steering.compile does.
    """
    from bcc import BPF

    attach, BPF._trace_autoload = BPF._trace_autoload, lambda self: None
    try:
        made = compiling._compile(*wanted)
    finally:
        BPF._trace_autoload = attach
    try:
        return _taken(made)
    finally:
        made.cleanup()


def _taken(made: Any) -> Compiled:
    from bcc.libbcc import lib

    module, places = ctypes.c_void_p(made.module), {}
    lib.bpf_table_name.restype = ctypes.c_char_p
    tables = []
    for place in range(lib.bpf_num_tables(module)):
        number = ctypes.c_size_t(place)
        places[lib.bpf_table_fd_id(module, number)] = place
        sizes = (lib.bpf_table_key_size_id, lib.bpf_table_leaf_size_id)
        key, leaf = (int(size(module, number)) for size in sizes)
        kind = lib.bpf_table_type_id(made.module, place)
        entries = lib.bpf_table_max_entries_id(made.module, place)
        flags = lib.bpf_table_flags_id(made.module, place)
        name = lib.bpf_table_name(module, number).decode()
        tables.append(Table(name, (kind, key, leaf, entries, flags)))
    names = [
        lib.bpf_function_name(made.module, n) for n in range(lib.bpf_num_functions(made.module))
    ]
    functions = {name.decode(): _with_maps(made.dump_func(name), places) for name in names}
    return Compiled(tables, functions)


def _with_maps(code: bytes, numbers: dict[int, int] | list[int]) -> bytes:
    """Instructions with other numbers for the maps that they load."""
    changed, at = bytearray(code), 0
    while at < len(code):
        operation, registers = code[at], code[at + 1]
        if operation == _LOAD_IMMEDIATE and registers & 0xF0 == _OF_A_MAP:
            (number,) = struct.unpack_from("=i", code, at + 4)
            struct.pack_into("=i", changed, at + 4, numbers[number])
        at += 16 if operation == _LOAD_IMMEDIATE else 8
    return bytes(changed)


class Service:
    """The host's half: answers what the guests ask for, each text compiled once."""

    def __init__(self) -> None:
        self._known: dict[bytes, bytes] = {}

    def serve(self, folder: Path) -> None:
        """Answer everything that is asked for in this folder by now."""
        for path in folder.glob("*.wanted"):
            wanted = path.read_bytes()
            if wanted not in self._known:
                self._known[wanted] = pickle.dumps(_tried(pickle.loads(wanted)))
            half = path.with_suffix(".half")
            half.write_bytes(self._known[wanted])
            half.rename(path.with_suffix(".answer"))
            path.unlink()


def _tried(wanted: Wanted) -> Compiled | tuple[str, Any]:
    try:
        return on_host(wanted)
    except compiling.CompileError as error:
        return str(error), error.found


def asked_of_host(folder: Path) -> Callable[..., "Loaded"]:
    """The guest's half: what can take the place of steering.compile._compile."""

    def ask(*wanted: Any) -> Loaded:
        path = folder / f"{uuid4().hex}.half"
        path.write_bytes(pickle.dumps(wanted))
        path.rename(path.with_suffix(".wanted"))
        answer = path.with_suffix(".answer")
        while not answer.exists():
            time.sleep(0.1)
        found = pickle.loads(answer.read_bytes())
        answer.unlink()
        if isinstance(found, Compiled):
            return Loaded(found)
        raise compiling.CompileError(*found)

    return ask


class Loaded:
    """What of bcc's object is used, over compiled programs: maps made, tracepoints attached."""

    def __init__(self, compiled: Compiled) -> None:
        self._functions = compiled.functions
        self.funcs: dict[bytes, SimpleNamespace] = {}
        self.raw_tracepoint_fds: dict[bytes, int] = {}
        self.tables = {table.name: _made(table) for table in compiled.tables}
        self._numbers = list(self.tables.values())
        for name in compiled.functions:
            if name.startswith(_TRACEPOINT):
                self._attach(name)

    def load_func(self, name: bytes, kind: int, device: Any = None, attach: int = -1) -> Any:
        """A program, of an ``fd``."""
        if name not in self.funcs:
            code = _with_maps(self._functions[name.decode()], self._numbers)
            try:
                fd = bpf.prog_load(code, kind, max(0, attach), name.decode())
            except bpf.BpfError as error:
                os.write(2, error.log.encode())  # as bcc does; it is read there
                raise
            self.funcs[name] = SimpleNamespace(fd=fd)
        return self.funcs[name]

    def detach_raw_tracepoint(self, name: bytes) -> None:
        """As bcc's."""
        os.close(self.raw_tracepoint_fds.pop(name))

    def cleanup(self) -> None:
        """Let go of everything."""
        for name in list(self.raw_tracepoint_fds):
            self.detach_raw_tracepoint(name)
        for program in self.funcs.values():
            os.close(program.fd)
        for fd in self.tables.values():
            os.close(fd)
        self.funcs, self.tables = {}, {}

    def _attach(self, function: str) -> None:
        program = self.load_func(function.encode(), bpf.PROG_TYPE_RAW_TRACEPOINT).fd
        event = function.removeprefix(_TRACEPOINT).encode()
        text = ctypes.create_string_buffer(event)
        attr = struct.pack("=QII", ctypes.addressof(text), program, 0)
        what = f"attach to tracepoint '{event.decode()}'"
        self.raw_tracepoint_fds[event] = bpf._bpf(_RAW_TRACEPOINT_OPEN, attr, what)


def _made(table: Table) -> int:
    attr = struct.pack("=5I", *table.shape)
    return bpf._bpf(_MAP_CREATE, attr, f"make map '{table.name}'")
