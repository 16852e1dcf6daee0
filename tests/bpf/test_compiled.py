"""What `make matrix` rests on: programs that bcc compiled here, made and loaded without it."""

import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from steering import bpf
from steering.compile import CompileError
from xdp import INCLUDE, SOURCES

sys.path.insert(0, str(Path(__file__).parents[1] / "matrix"))
from compiled import Loaded, Service, _with_maps, asked_of_host, on_host

pytestmark = pytest.mark.root
DROP = 1
FLAGS = ["-fno-strict-aliasing", f"-I{INCLUDE}"]


@contextmanager
def loaded(name: str) -> Iterator[Loaded]:
    text = (SOURCES / f"{name}.bpf.c").read_text()
    made = Loaded(on_host((name, text, FLAGS, "", False)))
    try:
        yield made
    finally:
        made.cleanup()


def test_a_program_runs_and_counts() -> None:
    with loaded("drop") as made:
        program = made.load_func(b"drop", bpf.PROG_TYPE_XDP).fd
        assert bpf.prog_test_run(program, bytes(64), repeat=5).retval == DROP
        every = np.dtype([("count", "<u8")])
        counts = bpf.map_lookup(made.tables["dropped"], bytes(4), every, per_core=True)
        assert counts["count"].sum() == 5


def test_tracepoints_are_attached_and_let_go() -> None:
    before = open_files()
    with loaded("why") as made:
        assert list(made.raw_tracepoint_fds) == [b"kfree_skb"]
    assert open_files() == before


def test_what_does_not_compile_is_told_by_the_host(tmp_path: Path) -> None:
    told: list[str] = []

    def ask() -> None:
        try:
            asked_of_host(tmp_path)("wrong", "int f(void) { return nonsense; }", FLAGS, "", False)
        except CompileError as error:
            told.append(str(error))

    asking, service = Thread(target=ask), Service()
    asking.start()
    while asking.is_alive():
        service.serve(tmp_path)
        asking.join(0.05)
    assert len(told) == 1 and "nonsense" in told[0]
    assert list(tmp_path.iterdir()) == []


def test_numbers_of_maps_are_exchanged_and_nothing_else() -> None:
    load = struct.pack("=BBhi8x", 0x18, 0x10 | 1, 0, 7)  # r1 = map 7
    constant = struct.pack("=BBhi8x", 0x18, 2, 0, 7)  # r2 = 7
    other = struct.pack("=BBhi", 0xB7, 0x10, 0, 7)
    assert (
        _with_maps(load + constant + other, {7: 3}) == load.replace(b"\7", b"\3") + constant + other
    )


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
