"""Which kernel headers bcc is given, and how Debian's two halves become one tree to it."""

from pathlib import Path

import pytest

from steering import headers
from steering.errors import OversprayError

RELEASE = "6.9.0-1"


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headers.platform, "machine", lambda: "x86_64")
    monkeypatch.delenv(headers.VARIABLE, raising=False)


def filled(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def debian(sources: Path, version: str) -> Path:
    common = filled(sources / f"linux-headers-{version}-common", "include/linux/kconfig.h")
    build = filled(sources / f"linux-headers-{version}-amd64", "include/generated/autoconf.h")
    (build / "Makefile").write_text(f"# made by Debian\ninclude {common}/Makefile\n")
    return build


def test_two_halves_are_named_to_bcc(tmp_path: Path) -> None:
    build = debian(tmp_path, "6.1.0-9")
    found = headers.find(tmp_path / "none", tmp_path, RELEASE)
    assert found.source == tmp_path / "linux-headers-6.1.0-9-common"
    assert found.flags[:2] == (f"-I{build}/arch/x86/include/generated", f"-I{build}/include")
    assert (found.build, found.stand_in) == (build, True)


def test_a_whole_tree_is_taken_as_it_is(tmp_path: Path) -> None:
    own = filled(tmp_path / RELEASE / "build", "include/generated/autoconf.h", "include/linux/kconfig.h")
    assert headers.find(tmp_path, tmp_path / "src", RELEASE) == headers.Headers(own, (), own, False)


def test_the_running_kernels_own_come_first(tmp_path: Path) -> None:
    debian(tmp_path / "src", "6.12.0-1")
    own = filled(tmp_path / RELEASE / "build", "include/generated/autoconf.h", "include/linux/kconfig.h")
    assert headers.find(tmp_path, tmp_path / "src", RELEASE).build == own


def test_the_newest_stand_in_is_taken_special_flavours_last(tmp_path: Path) -> None:
    for version in ("6.1.0-9", "6.1.0-56", "6.1.0-60-rt", "6.1.0-60-cloud"):
        debian(tmp_path, version)
    filled(tmp_path / "linux-headers-6.20.0-1-common", "include/linux/kconfig.h")  # not configured
    found = headers.find(tmp_path / "none", tmp_path, RELEASE)
    assert found.build.name == "linux-headers-6.1.0-56-amd64"


def test_bccs_own_variable_is_heeded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = filled(tmp_path / "mine", "include/generated/autoconf.h", "include/linux/kconfig.h")
    monkeypatch.setenv(headers.VARIABLE, str(mine))
    assert headers.find(tmp_path, tmp_path, RELEASE).source == mine
    monkeypatch.setenv(headers.VARIABLE, str(tmp_path))
    with pytest.raises(OversprayError, match="unset it"):
        headers.find(tmp_path, tmp_path, RELEASE)


def test_none_is_one_line_with_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(OversprayError, match="type 'apt-get install linux-headers-"):
        headers.find(tmp_path, tmp_path, RELEASE)


def test_half_of_it_missing_is_one_line(tmp_path: Path) -> None:
    build = debian(tmp_path, "6.1.0-9")
    for makefile in ("", "include /nowhere/Makefile\n"):
        (build / "Makefile").write_text(makefile)
        with pytest.raises(OversprayError, match="lack their common half"):
            headers.find(tmp_path / "none", tmp_path, RELEASE)
