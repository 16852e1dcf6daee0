"""Debian's packaged kernels: found, fetched and laid out beside the project, and nowhere else.

apt is used with lists of its own: what this system has installed, and from where it installs, stays
as it is. The archive is the one that the system itself is set up with.
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "build/kernels"
SUITES = ("bookworm", "trixie", "trixie-backports", "sid")
NEWEST = "newest"
QEMU = "qemu-system-x86_64"
WANTED = ("6.1", "6.12", NEWEST)
_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_META = "linux-image-amd64"


class NoKernel(Exception):
    """A kernel can't be had here; says why in one line."""


@dataclass(frozen=True)
class Kernel:
    """One kernel, unpacked: its image, with its modules where virtme-ng looks for them."""

    release: str
    image: Path


def fetched(wanted: tuple[str, ...]) -> dict[str, Kernel]:
    """Kernels by what was wanted (``6.12``, ``newest``), fetched where they are not there yet.

    Raises:
        NoKernel: there is no archive, or it has no such kernel; or nothing to boot it with.
    """
    if shutil.which(QEMU) is None:
        raise NoKernel(f"no '{QEMU}' here: type 'apt-get install qemu-system-x86'")
    apt = _Apt(CACHE / "apt")
    apt.update()
    versions = apt.versions()
    return {each: _unpacked(apt, _version(each, versions)) for each in wanted}


def _version(wanted: str, versions: list[str]) -> str:
    """The newest version of the image, or the newest of one line of kernels."""
    line = "" if wanted == NEWEST else f"{wanted}."
    found = [version for version in versions if version.startswith(line)]
    if not found:
        raise NoKernel(f"no kernel {wanted} in Debian's {', '.join(SUITES)}")
    return max(found, key=lambda version: [int(part) for part in re.findall(r"\d+", version)])


def _unpacked(apt: "_Apt", version: str) -> Kernel:
    image = apt.depends(_META, version, r"linux-image-(\d\S+)")[0]
    release = image.removeprefix("linux-image-")
    folder = CACHE / release
    if not folder.exists():
        # Newer ones come in parts: the image's package is empty and depends on the others.
        parts = r"linux-(?:binary|modules|base)-\d\S+"
        with tempfile.TemporaryDirectory(dir=CACHE) as half:
            for package in [image, *apt.depends(image, version, parts)]:
                archive = apt.download(package, version)
                _run("dpkg-deb", "-x", archive, f"{half}/all")
                archive.unlink()
            Path(half, "all").rename(folder)
    [found] = [*folder.glob("boot/vmlinuz-*"), *folder.glob("usr/lib/modules/*/vmlinuz")]
    return Kernel(release, found)


class _Apt:
    """apt with a state of its own."""

    def __init__(self, folder: Path) -> None:
        for part in ("lists/partial", "cache/archives/partial"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        self._folder = folder
        sources = folder / "sources.list"
        archive = _archive()
        signed = f"[signed-by={_KEYS}] " if _KEYS.exists() else ""
        sources.write_text("".join(f"deb {signed}{archive} {suite} main\n" for suite in SUITES))
        options = {
            "Dir::State": folder,
            "Dir::State::Lists": folder / "lists",
            "Dir::State::status": "/var/lib/dpkg/status",
            "Dir::Cache": folder / "cache",
            "Dir::Etc::sourcelist": sources,
            "Dir::Etc::sourceparts": "-",
            "APT::Sandbox::User": "root",
        }
        self._options = [
            part for name, value in options.items() for part in ("-o", f"{name}={value}")
        ]

    def update(self) -> None:
        """Fetch the lists."""
        self._do("apt-get", "update", "-qq")

    def versions(self) -> list[str]:
        """All versions of the image that the archive has."""
        return re.findall(r"^\S+ \| +(\S+) \|", self._do("apt-cache", "madison", _META), re.M)

    def depends(self, package: str, version: str, wanted: str) -> list[str]:
        """Of what a package depends on, the names that match."""
        said = self._do("apt-cache", "show", f"{package}={version}")
        depends = "".join(re.findall(r"^Depends: (.*)$", said, re.M))
        names = [part.split()[0] for part in depends.split(",") if part.strip()]
        return [name for name in names if re.fullmatch(wanted, name)]

    def download(self, package: str, version: str) -> Path:
        """The package's file."""
        archives = self._folder / "cache/archives"
        self._do("apt-get", "download", "-qq", f"{package}={version}", at=archives)
        [path] = archives.glob(f"{package}_*.deb")
        return path

    def _do(self, command: str, action: str, *more: str, at: Path | None = None) -> str:
        return _run(command, *self._options, action, *more, at=at)


def _archive() -> str:
    """Where this system gets Debian's packages from."""
    form = "$(ORIGIN) $(COMPONENT) $(REPO_URI) $(CODENAME)"
    said = _run("apt-get", "indextargets", "--format", form, "Created-By: Packages")
    for origin, component, archive, suite in _rows(said):
        if (origin, component) == ("Debian", "main") and not suite.endswith("-security"):
            return archive
    raise NoKernel("this system's apt knows no archive of Debian: type 'apt-get update', on Debian")


def _rows(said: str) -> Iterator[list[str]]:
    return (words for line in said.splitlines() if len(words := line.split()) == 4)


def _run(*command: object, at: Path | None = None) -> str:
    words = [str(part) for part in command]
    try:
        done = subprocess.run(words, capture_output=True, text=True, cwd=at, check=True)
    except FileNotFoundError:
        raise NoKernel(f"no '{words[0]}' here: Debian's packages are wanted") from None
    except subprocess.CalledProcessError as error:
        said = (error.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise NoKernel(f"{words[0]}: {said}") from None
    return done.stdout
