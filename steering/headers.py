"""One directory of kernel headers in the form that bcc takes.

Debian splits headers into a configured half for the architecture and a common half; bcc wants one
tree. Where they are split, a tree of links is made once, in the user's cache.
"""

import os
import re
import shutil
import tempfile
from pathlib import Path

from steering.errors import OversprayError
from steering.host import kernel_headers

_ARCH = {"x86_64": "x86", "aarch64": "arm64"}


def header_tree() -> Path:
    """The tree to name in BCC_KERNEL_SOURCE; OversprayError where no headers are installed."""
    build = kernel_headers()
    if (build / "include/linux/kconfig.h").exists():
        return build
    common = _common_half(build)
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "overspray/headers"
    tree = cache / build.resolve().name
    try:
        if tree.exists():
            return tree
        cache.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=cache))
    except OSError as error:
        raise OversprayError(
            f"can't use '{cache}': {error.strerror}: set XDG_CACHE_HOME to a folder of your own"
        ) from None
    _link(build, common, fresh)
    try:
        fresh.rename(tree)
    except OSError:  # another process was quicker
        shutil.rmtree(fresh)
    return tree


def _common_half(build: Path) -> Path:
    found = re.search(r"^include\s+(\S+)/Makefile", (build / "Makefile").read_text(), re.M)
    if not found or not Path(found[1], "include/linux/kconfig.h").exists():
        raise OversprayError(f"kernel headers in {build} are incomplete: install them again")
    return Path(found[1])


def _link(build: Path, common: Path, tree: Path) -> None:
    arch = f"arch/{_ARCH.get(os.uname().machine, os.uname().machine)}/include"
    for part in ("include", arch):
        (tree / part).mkdir(parents=True)
        for half in (common, build):
            for entry in (half / part).iterdir():
                if not (tree / part / entry.name).exists():
                    (tree / part / entry.name).symlink_to(entry.resolve())
