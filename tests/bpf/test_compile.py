"""The compile layer: what loads as what, and what an author is told."""

import errno
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from steering import bpf, code, compile, cores
from steering.bpf import BpfError, CpuMap, Kind, Link, Tracepoint
from steering.compile import CompileError, Module
from steering.errors import OversprayError

KINDS = """
#include "compat.h"
BPF_ARRAY(numbers, __u32, 2);
BPF_PERCPU_ARRAY(rows, __u64, 1);
int on_xdp(struct xdp_md *ctx) { return XDP_DROP; }
int on_cpumap(struct xdp_md *ctx) { return XDP_PASS; }
int on_tc(struct __sk_buff *skb) { return -1; }
int on_socket(struct __sk_buff *skb) { return 0; }
int on_event(struct bpf_raw_tracepoint_args *ctx) { return 0; }
"""

# The body stands in line 12. bcc adds lines before and inside functions: none of them may count.
BROKEN = """#include "compat.h"

BPF_ARRAY(numbers, __u32, 1);

static ALWAYS_INLINE int helper(int n)
{
\treturn n + 1;
}

int broken(struct xdp_md *ctx)
{
\tBODY
}
"""

Make = Callable[[str], Module]


def returning(value: str) -> str:
    return f"int program(struct xdp_md *ctx)\n{{\n\treturn {value};\n}}\n"


@pytest.fixture(autouse=True)
def nothing_kept(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything here is compiled, whoever did so before."""
    monkeypatch.setattr(code, "FOLDER", tmp_path_factory.mktemp("compiled"))


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Compile a text as if it were one of our sources."""
    monkeypatch.setattr("steering.compile.SOURCES", tmp_path)

    def of(text: str) -> Module:
        (tmp_path / "mine.bpf.c").write_text(text)
        return Module("mine.bpf.c")

    return of


def test_every_kind_loads_as_what_it_is(make: Make) -> None:
    with make(KINDS) as module:
        for function, kind in (
            ("on_xdp", Kind.XDP),
            ("on_cpumap", Kind.CPUMAP),
            ("on_tc", Kind.TC),
            ("on_socket", Kind.SOCKET_FILTER),
            ("on_event", Kind.RAW_TRACEPOINT),
        ):
            fd = module.load(function, kind)
            assert fd == module.load(function, kind), "loaded once"
            assert str(Path(f"/proc/self/fd/{fd}").readlink()) == "anon_inode:bpf-prog"


def test_a_worker_takes_a_cpumap_program_only(make: Make) -> None:
    """The attach type is part of the load: a plain XDP program is refused."""
    with make(KINDS) as module, CpuMap(cores.possible()) as table:
        table.put(cores.usable()[0], 64, module.load("on_cpumap", Kind.CPUMAP))
        with pytest.raises(BpfError, match="write element"):
            table.put(cores.usable()[0], 64, module.load("on_xdp", Kind.XDP))


def test_a_closed_module_leaves_no_descriptor(make: Make) -> None:
    def use() -> int:
        with make(KINDS) as module:
            module.load("on_xdp", Kind.XDP)
            module.map("numbers").put(1, struct.pack("=I", 7))
        return len(list(Path("/proc/self/fd").iterdir()))

    assert use() == use()


def test_map_values(make: Make) -> None:
    with make(KINDS) as module:
        numbers, rows = module.map("numbers"), module.map("rows")
        numbers.put(1, struct.pack("=I", 7))
        assert int(numbers.get("<u4", 1)) == 7
        values = range(cores.possible())
        rows.put(0, b"".join(struct.pack("=Q", value) for value in values))
        assert list(rows.get("<u8")) == list(values)
        with pytest.raises(BpfError, match="write element 2 of numbers: Argument list too long"):
            numbers.put(2, bytes(4))
        whole = 8 * cores.possible()
        for wrong in (
            lambda: rows.get("<u4"),
            lambda: rows.put(0, bytes(whole + 8)),
            lambda: rows.put(0, b""),
        ):
            with pytest.raises(ValueError, match=f"a value of rows is {whole} bytes, not "):
                wrong()
        for wrong in (lambda: numbers.get("<u8"), lambda: numbers.put(0, bytes(3))):
            with pytest.raises(ValueError, match="a value of numbers is 4 bytes, not "):
                wrong()
        with pytest.raises(KeyError, match="no map 'nowhere'"):
            module.map("nowhere")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("return nonsense;", "mine.bpf.c:12: use of undeclared identifier 'nonsense'"),
        ("int unused; return XDP_PASS;", "mine.bpf.c:12: unused variable 'unused'"),
        (
            "int n = ctx->data; return n < sizeof(*ctx);",
            "mine.bpf.c:12: comparison of integers of different signs",
        ),
        ('}\n#include "nowhere.h"\n{', "mine.bpf.c:13: 'nowhere.h' file not found"),
    ],
)
def test_what_does_not_compile_is_one_line(
    make: Make, body: str, told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CompileError) as caught:
        make(BROKEN.replace("BODY", body))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("return *(__u8 *)(long)ctx->data;", "outside of the packet"),
        ("return *(volatile int *)0;", "invalid mem access"),
    ],
)
def test_what_the_verifier_refuses_is_one_line(
    make: Make, body: str, told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with make(BROKEN.replace("BODY", body)) as module, pytest.raises(CompileError) as caught:
        module.load("broken", Kind.XDP)
    assert str(caught.value).startswith("the verifier refused 'broken' at mine.bpf.c:12: ")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_folder_that_is_gone_is_one_line(make: Make, tmp_path: Path) -> None:
    home = Path.cwd()
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    try:
        gone.rmdir()
        with pytest.raises(OversprayError, match="the current folder is gone"):
            make(KINDS)
    finally:
        os.chdir(home)


def test_the_environment_is_as_it_was(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BCC_KERNEL_SOURCE", raising=False)
    here = Path.cwd()
    make(KINDS).close()
    assert "BCC_KERNEL_SOURCE" not in os.environ
    assert Path.cwd() == here


def test_raw_instructions_that_are_refused_say_why() -> None:
    with pytest.raises(BpfError, match=r"load program 'probe': .*last insn is not an exit or jmp") as caught:
        bpf.Program(bpf.returning(0)[:8], Kind.XDP)  # without its exit
    assert caught.value.errno == errno.EINVAL


def test_a_tracepoint_that_is_not_there_is_named(make: Make) -> None:
    with make(KINDS) as module:
        program = module.load("on_event", Kind.RAW_TRACEPOINT)
        Tracepoint(program, "xdp_devmap_xmit").close()
        with pytest.raises(BpfError, match="tracepoint 'nowhere': No such file"):
            Tracepoint(program, "nowhere")


def test_a_device_that_is_not_there_is_named(make: Make) -> None:
    with make(KINDS) as module, pytest.raises(BpfError, match="attach to interface 4000000: "):
        Link(module.load("on_xdp", Kind.XDP), 4_000_000, bpf.ATTACH_XDP, bpf.XDP_NATIVE)


def test_an_ordinary_run_returns_verdict_and_packet(make: Make) -> None:
    with make(KINDS) as module:
        assert bpf.test_run(module.load("on_xdp", Kind.XDP), bytes(range(64))) == (
            bpf.XDP_DROP,
            bytes(range(64)),
        )


def test_what_was_compiled_is_not_compiled_again(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even with a compiler that is broken; and each module has maps and programs of its own."""
    with make(returning("1")):
        pass
    monkeypatch.setattr(compile, "_compile", lambda *_: pytest.fail("compiled again"))
    with make(returning("1")) as one, make(returning("1")) as two:
        assert one.load("program", Kind.XDP) != two.load("program", Kind.XDP)
        assert bpf.test_run(one.load("program", Kind.XDP), bytes(60))[0] == 1


def test_a_header_that_changed_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.bpf.c").write_text(
        '#include "verdict.h"\nint program(struct xdp_md *ctx)\n{\n\treturn VERDICT;\n}\n'
    )
    monkeypatch.setattr(compile, "SOURCES", tmp_path)
    for verdict in (1, 2, 1):
        (tmp_path / "verdict.h").write_text(f"#define VERDICT {verdict}\n")
        with Module("mine.bpf.c", include=[tmp_path]) as module:
            assert bpf.test_run(module.load("program", Kind.XDP), bytes(60))[0] == verdict


@pytest.mark.parametrize("text", ["", "{}", '{"functions": {"program": 1}, "maps": []}', "\0"])
def test_a_damaged_file_is_compiled_anew(make: Make, text: str) -> None:
    with make(returning("2")):
        pass
    [kept] = code.FOLDER.glob("*.json")
    kept.write_text(text)
    with make(returning("2")) as module:
        assert bpf.test_run(module.load("program", Kind.XDP), bytes(60))[0] == 2
    assert code.kept(kept.stem) is not None


def test_a_function_that_is_not_there_is_named(make: Make) -> None:
    with (
        make(returning("0")) as module,
        pytest.raises(CompileError, match="load 'spray': mine"),
    ):
        module.load("spray", Kind.XDP)
