"""The journal of changes: who changes what, where, from which value to which; and its replay.

One file for each :class:`steering.undo.Changes`, named after its owner: a line for every setting,
written before it is set. Not forced to the disk: that is for losing power, after which
the settings themselves are gone, and a journal of an earlier boot is thrown away.
"""

import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any, Self

from steering import files, netns
from steering.errors import OversprayError
from steering.settings import Setting, Value, from_plain, to_plain

JOURNALS = Path("/run/overspray/changes")
_NAME = re.compile(r"([0-9a-f]{8})-(\d+)-(\d+)-\d+\.jsonl")


@dataclass(frozen=True)
class Owner:
    """A process that cannot be taken for another: process ids come round again."""

    pid: int
    started: int
    """In clock ticks since the boot."""
    boot: str

    @classmethod
    def of(cls, pid: int) -> Self:
        """The process of that id now; ``started`` is 0 where there is none."""
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
        return cls(pid, _started(pid), boot)

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self == Owner.of(self.pid) and self.started > 0


@dataclass(frozen=True)
class Place:
    """A network namespace: where it was found, and its cookie, which is never used again."""

    path: str
    cookie: int

    @classmethod
    def here(cls, ns: netns.Namespace) -> Self:
        """The namespace that the calling thread is in, which was entered by ``ns``."""
        return cls("" if ns is None else str(netns.path_of(ns)), netns.cookie(None))

    def find(self) -> Path | None:
        """A path that leads there now, or None when the namespace is gone."""
        return netns.find(self.cookie, *filter(None, [self.path]))


@dataclass(frozen=True)
class Entry:
    """One change. ``index`` is the device's interface index, 0 where it belongs to none."""

    place: Place
    setting: Setting
    index: int
    old: Value
    new: Value

    def as_line(self) -> str:
        """One line of JSON."""
        fields = {"place": asdict(self.place), "setting": to_plain(self.setting)}
        return json.dumps({**fields, "index": self.index, "old": self.old, "new": self.new})

    @classmethod
    def from_line(cls, line: str) -> Self:
        """What :meth:`as_line` wrote. Raises ValueError, KeyError or TypeError for other text."""
        fields: dict[str, Any] = json.loads(line)
        place, setting = Place(**fields["place"]), from_plain(fields["setting"])
        return cls(place, setting, fields["index"], fields["old"], fields["new"])

    def __str__(self) -> str:
        words = [str(word) for word in to_plain(self.setting).values()]
        return f"{' '.join(words)} in {Path(self.place.path).name or 'this namespace'}"


def create(owner: Owner) -> Path:
    """Start a journal of this process; its name says whose it is.

    Raises:
        OversprayError: there is no room for it.
    """
    for number in count():
        path = JOURNALS / f"{owner.boot}-{owner.pid}-{owner.started}-{number}.jsonl"
        try:
            JOURNALS.mkdir(parents=True, exist_ok=True)
            path.open("x").close()
            return path
        except FileExistsError:
            continue
        except OSError as error:
            raise files.not_written(path, error) from None
    raise AssertionError


def owner_of(path: Path) -> Owner:
    """The owner that a journal's name tells; OversprayError where it is no journal's name."""
    found = _NAME.fullmatch(path.name)
    if found is None:
        raise OversprayError(f"'{path}' is no journal: remove it")
    return Owner(int(found[2]), int(found[3]), found[1])


def append(path: Path, entries: list[Entry]) -> None:
    """Write entries down; returns when they are in the file, where a killed process leaves them.

    Raises:
        OversprayError: there is no room: none of them is there then.
    """
    files.append(path, _lines(entries).encode())


def rewrite(path: Path, entries: list[Entry]) -> None:
    """Leave only these entries in the journal; with none it goes. Needs the lock.

    Where there is no room for that all stay, to be looked at once more.
    """
    if entries:
        with suppress(OversprayError):
            files.replace(path, _lines(entries))
    else:
        path.unlink(missing_ok=True)


def _lines(entries: list[Entry]) -> str:
    return "".join(entry.as_line() + "\n" for entry in entries)


def read(path: Path) -> list[Entry]:
    """The entries in order. A line cut short is left out: its setting was not changed yet."""
    entries = []
    for line in path.read_text().splitlines():
        with suppress(ValueError, KeyError, TypeError):
            entries.append(Entry.from_line(line))
    return entries


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Whether the journal is there still, and ours alone to replay until the block ends."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield os.fstat(handle).st_nlink > 0
    finally:
        os.close(handle)


def _started(pid: int) -> int:
    """When a process started, in clock ticks; 0 if there is none, or only its exit code left."""
    try:
        # The name, in parentheses, may hold anything; state and start time count from its end.
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if state in "ZX" else int(fields[18])
