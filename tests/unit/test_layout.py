"""C structs and enums as Python sees them: some worked out by hand, all of them by a C compiler."""

import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from steering.compile import counter_names
from steering.layout import header
from xdp import INCLUDE

READ = [path.name for path in INCLUDE.glob("*.h") if re.search(r"Python\W+reads", path.read_text())]
BEFORE = {"check.h": ("policy.h",), "frame.h": ("maps.h",)}
"""Headers whose declarations another one uses."""
ENUMS = [
    (name, enum)
    for name in READ
    for enum in re.findall(r"^enum (\w+) \{", (INCLUDE / name).read_text(), re.M)
]
STRUCTS = [
    (name, struct)
    for name in READ
    for struct in re.findall(r"^struct (\w+) \{", (INCLUDE / name).read_text(), re.M)
]
COUNTERS = [enum for name, enum in ENUMS if name == "counters.h"]


def test_the_headers_that_python_reads() -> None:
    assert {"counters.h", "maps.h", "policy.h", "proof.h", "stamp.h"} <= set(READ)


def test_padding_between_members_and_at_the_end() -> None:
    packet = header("policy.h").struct("packet")
    assert packet.names is not None and packet.itemsize == 32
    places = [packet.fields[name][1] for name in packet.names]
    assert places == [0, 8, 12, 16, 20, 22, 23, 24, 26, 27, 28]
    key = header("maps.h").struct("tunnel_key")
    assert (key.itemsize, key["local"].shape, key.fields["vni"][1]) == (40, (4,), 32)


def test_packed() -> None:
    stamp = header("stamp.h").struct("stamp")
    assert stamp.itemsize == 18 and not stamp.isalignedstruct
    assert stamp.fields["intended"][1] == 10


def test_structs_in_structs_and_cache_lines() -> None:
    workers = header("policy.h").struct("workers")
    worker = header("policy.h").struct("worker")
    assert workers["worker"].base == worker and workers["worker"].shape == (64,)
    # Each end of a queue writes a cache line of its own.
    assert worker.itemsize == 128 and worker.fields["done"][1] == 64
    assert workers.fields["worker"][1] % 64 == 0


def test_bytes_go_there_and_back() -> None:
    proof = np.zeros((), header("proof.h").struct("proof"))
    proof["secret"], proof["device"] = 0x0102030405060708, 9
    raw = proof.tobytes()
    assert raw.hex() == "0807060504030201" + "00000000" * 2 + "09000000" + "00000000" * 3
    assert np.frombuffer(raw, proof.dtype)[0] == proof


def test_numbers() -> None:
    constants = header("maps.h").constants
    assert constants["MAX_FLOWS"].bit_count() == 1
    assert header("policy.h").constants["LOCAL_SLOT"] == 0


@pytest.mark.parametrize(("name", "enum"), ENUMS)
def test_every_enumerator_has_a_number_in_order(name: str, enum: str) -> None:
    values = header(name).enum(enum)
    assert [*values.values()] == sorted(set(values.values()))


@pytest.mark.parametrize("enum", COUNTERS)
def test_every_counter_is_described(enum: str) -> None:
    names = counter_names(enum)
    described = header("counters.h").descriptions
    prefix = enum.removesuffix("counter").upper()
    assert names and all(name == name.lower() for name in names)
    assert all(described[prefix + name.upper()] for name in names)
    assert [*header("counters.h").enum(enum).values()] == [*range(len(names) + 1)]


def test_the_path_of_a_passed_frame_is_in_its_description() -> None:
    for name in counter_names("steer_counter"):
        words = header("counters.h").descriptions[f"STEER_{name.upper()}"]
        assert ("stock path" in words) == name.startswith(("pass_", "refused_"))


def asserted(name: str, struct: str) -> str:
    """C that compiles only where the compiler sees the struct as numpy does."""
    dtype = header(name, *BEFORE.get(name, ())).struct(struct)
    lines = [f'_Static_assert(sizeof(struct {struct}) == {dtype.itemsize}, "size");']
    for field in dtype.names or ():
        inner, offset = dtype.fields[field][:2]
        member, where = f"((struct {struct} *)0)->{field}", f"struct {struct}, {field}"
        lines.append(f'_Static_assert(sizeof({member}) == {inner.itemsize}, "");')
        lines.append(f'_Static_assert(__builtin_offsetof({where}) == {offset}, "");')
    return "\n".join(lines)


def test_the_compiler_sees_the_same(tmp_path: Path) -> None:
    clang = shutil.which("clang")
    if clang is None:
        pytest.skip("no clang: type 'make setup'")
    source = tmp_path / "check.c"
    for name in READ:
        texts = [asserted(name, struct) for of, struct in STRUCTS if of == name]
        source.write_text("\n".join([f'#include "compat.h"\n#include "{name}"', *texts, ""]))
        done = subprocess.run(
            [
                *(clang, "-target", "bpf", "-fsyntax-only", f"-I{INCLUDE}", str(source)),
                *("-idirafter", f"/usr/include/{sysconfig.get_config_var('MULTIARCH')}"),
            ],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
