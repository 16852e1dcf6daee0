"""One tree of kernel headers for bcc, made of Debian's two halves where they are apart."""

from pathlib import Path

import pytest

from steering import headers
from steering.errors import OversprayError

ARCH = "x86"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setitem(headers._ARCH, headers.os.uname().machine, ARCH)
    return tmp_path / "cache/overspray/headers"


def filled(root: Path, *files: str) -> Path:
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"/* {root.name} */")
    return root


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configured half, whose Makefile leads to the common one."""
    common = filled(
        tmp_path / "linux-headers-6.1.0-9-common",
        "include/linux/kconfig.h",
        "include/uapi/linux/bpf.h",
        f"arch/{ARCH}/include/asm/page.h",
    )
    half = filled(
        tmp_path / "linux-headers-6.1.0-9-amd64",
        "include/generated/autoconf.h",
        f"arch/{ARCH}/include/generated/asm/unistd.h",
    )
    (half / "Makefile").write_text(f"# made by Debian\ninclude {common}/Makefile\n")
    monkeypatch.setattr(headers, "kernel_headers", lambda: half)
    return half


def test_a_whole_tree_is_taken_as_it_is(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = filled(tmp_path / "linux-headers-6.8.0-1", "include/linux/kconfig.h")
    monkeypatch.setattr(headers, "kernel_headers", lambda: whole)
    assert headers.header_tree() == whole
    assert not cache.exists()


def test_two_halves_become_one_tree(cache: Path, build: Path) -> None:
    tree = headers.header_tree()
    assert tree == cache / build.name
    for file, half in {
        "include/linux/kconfig.h": "common",
        "include/uapi/linux/bpf.h": "common",
        "include/generated/autoconf.h": "amd64",
        f"arch/{ARCH}/include/asm/page.h": "common",
        f"arch/{ARCH}/include/generated/asm/unistd.h": "amd64",
    }.items():
        assert (tree / file).read_text() == f"/* linux-headers-6.1.0-9-{half} */"


def test_it_is_made_once(cache: Path, build: Path) -> None:
    tree = headers.header_tree()
    before = tree.stat()
    assert headers.header_tree() == tree
    assert tree.stat() == before
    assert [path.name for path in cache.iterdir()] == [build.name], "nothing half-made is left"


def test_another_process_may_be_quicker(
    cache: Path, build: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = headers._link

    def slowly(*halves: Path) -> None:
        link(*halves)
        filled(cache / build.name, "include/linux/kconfig.h")

    monkeypatch.setattr(headers, "_link", slowly)
    tree = headers.header_tree()
    assert (tree / "include/linux/kconfig.h").read_text() == f"/* {build.name} */"
    assert [path.name for path in cache.iterdir()] == [build.name]


def test_half_of_it_missing_is_one_line(cache: Path, build: Path) -> None:
    for makefile in ("", "include /nowhere/Makefile\n"):
        (build / "Makefile").write_text(makefile)
        with pytest.raises(OversprayError, match=r"are incomplete: install them again") as caught:
            headers.header_tree()
        assert str(build) in str(caught.value)
    assert not cache.exists()
