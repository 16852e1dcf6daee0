"""What this host is: its kernel, its headers, its cores; and the form of a probe's answer."""

import os
import platform
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from steering.errors import OversprayError

HEADERS_VARIABLE = "BCC_KERNEL_SOURCE"
_ARCHITECTURES = {
    "x86_64": ("x86", "amd64"),
    "aarch64": ("arm64", "arm64"),
    "riscv64": ("riscv", "riscv64"),
    "s390x": ("s390", "s390x"),
    "ppc64le": ("powerpc", "ppc64el"),
}


@dataclass(frozen=True)
class Probe:
    """One answer about this host: what was looked at, what it is good for, how to get it."""

    name: str
    ok: bool
    value: str
    meaning: str
    fix: str = ""
    needed: bool = True
    """Whether the main job (`make demo`) cannot run without it."""

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain values, for JSON."""
        return asdict(self)


def version_of(release: str) -> tuple[int, int]:
    """``(6, 1)`` of a kernel release such as ``6.1.0-56-amd64``; ``(0, 0)`` when it is none."""
    found = re.match(r"(\d+)\.(\d+)", release)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def kernel_version() -> tuple[int, int]:
    """Major and minor number of the running kernel."""
    return version_of(platform.release())


def headers_package() -> str:
    """The package to install for headers, or for a stand-in, on this distribution."""
    os_release = Path("/etc/os-release")
    text = os_release.read_text() if os_release.exists() else ""
    ubuntu = re.search(r"^ID(_LIKE)?=.*ubuntu", text, re.M)
    _, debian_name = _ARCHITECTURES.get(platform.machine(), ("", platform.machine()))
    return "linux-headers-generic" if ubuntu else f"linux-headers-{debian_name}"


def kernel_headers(
    modules: Path = Path("/lib/modules"), sources: Path = Path("/usr/src"), release: str = ""
) -> Path:
    """The kernel build directory that bcc compiles against.

    In this order: what ``BCC_KERNEL_SOURCE`` names; the running kernel's own headers; the newest
    packaged headers of this architecture as a stand-in (bcc's programs use UAPI structures and few
    internal ones, and the project's tests compile and load every program against what is found).
    """
    chosen = os.environ.get(HEADERS_VARIABLE)
    if chosen:
        if not _usable(Path(chosen)):
            raise OversprayError(
                f"no configured kernel headers in {HEADERS_VARIABLE}={chosen}: unset it, or name a "
                f"directory with include/generated/autoconf.h"
            )
        return Path(chosen)
    own = modules / (release or platform.release()) / "build"
    if _usable(own):
        return own
    stand_ins = [path for path in sources.glob("linux-headers-*") if _usable(path)]
    if not stand_ins:
        raise OversprayError(
            f"no kernel headers in {own} nor in {sources}: "
            f"type 'apt-get install {headers_package()}'"
        )
    return newest(stand_ins)


def newest(directories: Iterable[Path]) -> Path:
    """The directory whose name carries the highest version; real-time and cloud flavours last."""

    def rank(path: Path) -> tuple[bool, list[int], str]:
        special = re.search(r"-(rt|cloud)\b", path.name) is not None
        return not special, [int(part) for part in re.findall(r"\d+", path.name)], path.name

    return max(directories, key=rank)


def _usable(directory: Path) -> bool:
    """Whether a directory holds *configured* headers of this architecture.

    Debian's ``-common`` half and Ubuntu's bare version have no generated files.
    """
    arch, _ = _ARCHITECTURES.get(platform.machine(), (platform.machine(), ""))
    generated = directory / "include/generated/autoconf.h"
    return generated.exists() and (directory / "arch" / arch / "include/generated").exists()
