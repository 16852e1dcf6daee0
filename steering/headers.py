"""The kernel headers that bcc compiles against: the running kernel's own, or a packaged stand-in.

A stand-in of another version serves: our programs use UAPI structs only, which never change. Debian
splits headers into a configured half and a common half, and bcc takes one tree; so it is given the
common half, and the configured one by ``-I``. Nothing is written to the host.
"""

import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

from steering.errors import OversprayError

VARIABLE = "BCC_KERNEL_SOURCE"
"""bcc's own name for a tree to use instead of the running kernel's."""
_CONFIGURED = "include/generated/autoconf.h"
_COMMON = "include/linux/kconfig.h"
_ARCHITECTURES = {"x86_64": ("x86", "amd64"), "aarch64": ("arm64", "arm64")}


@dataclass(frozen=True)
class Headers:
    """Where bcc looks (``source``), what else it must be told (``flags``), and whose they are."""

    source: Path
    flags: tuple[str, ...]
    build: Path
    stand_in: bool


def find(
    modules: Path = Path("/lib/modules"), sources: Path = Path("/usr/src"), release: str = ""
) -> Headers:
    """The headers to use, in this order: BCC_KERNEL_SOURCE, the running kernel's, the newest stand-in.

    Raises OversprayError where there are none, with what to type.
    """
    if chosen := os.environ.get(VARIABLE):
        if not (Path(chosen) / _CONFIGURED).exists():
            raise OversprayError(
                f"{VARIABLE}={chosen} holds no {_CONFIGURED}: unset it, or name a configured tree"
            )
        return _headers(Path(chosen), stand_in=False)
    own = modules / (release or platform.release()) / "build"
    if (own / _CONFIGURED).exists():
        return _headers(own, stand_in=False)
    stand_ins = [tree for tree in sources.glob("linux-headers-*") if (tree / _CONFIGURED).exists()]
    if not stand_ins:
        raise OversprayError(
            f"no kernel headers in {own} nor in {sources}: type 'apt-get install {package()}'"
        )
    return _headers(max(stand_ins, key=_rank), stand_in=True)


def package() -> str:
    """The package that brings the distribution's newest headers."""
    release = Path("/etc/os-release")
    if release.exists() and re.search(r"^ID(_LIKE)?=.*ubuntu", release.read_text(), re.M):
        return "linux-headers-generic"
    return f"linux-headers-{_ARCHITECTURES.get(platform.machine(), ('', platform.machine()))[1]}"


def _rank(tree: Path) -> tuple[bool, list[int], str]:
    """Real-time and cloud flavours last, then the highest version."""
    special = re.search(r"-(rt|cloud)\b", tree.name) is not None
    return not special, [int(part) for part in re.findall(r"\d+", tree.name)], tree.name


def _headers(build: Path, stand_in: bool) -> Headers:
    if (build / _COMMON).exists():
        return Headers(build, (), build, stand_in)
    makefile = build / "Makefile"
    found = re.search(r"^include\s+(\S+)/Makefile", makefile.read_text(), re.M)
    if not found or not (Path(found[1]) / _COMMON).exists():
        raise OversprayError(f"the kernel headers in {build} lack their common half: reinstall them")
    arch = _ARCHITECTURES.get(platform.machine(), (platform.machine(), ""))[0]
    kernel = (f"arch/{arch}/include/generated", "include")
    uapi = (f"arch/{arch}/include/generated/uapi", "include/generated/uapi")
    flags = tuple(f"-I{build}/{part}" for part in (*kernel, *uapi))
    return Headers(Path(found[1]), flags, build, stand_in)
