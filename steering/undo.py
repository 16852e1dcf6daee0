"""Change settings of a running system so that all of them are put back.

What was found is written to a journal before it is changed. Leaving a `Changes` block puts it back; if the
process is killed, :func:`put_back_leftovers` at the start of the next command does.
"""

import fcntl
import itertools
import json
import os
import re
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from steering import netns, owner, settings
from steering.closing import Closing
from steering.errors import OversprayError
from steering.owner import Owner
from steering.settings import Missing, Setting

FOLDER = Path("/run/overspray/undo")
"""A journal for each `Changes`, named by its owner; gone with the next boot, as the settings are."""
_NAME = re.compile(rf"{owner.PATTERN}-(?P<number>\d+)\.jsonl")
_SO_NETNS_COOKIE = 71
_numbers = itertools.count()


@dataclass(frozen=True)
class Change:
    """A setting as it was found; a line of the journal."""

    ns: str
    """Its name, or `netns.OWN` for what the whole machine has."""
    cookie: int
    """Of the namespace: another one of that name has another."""
    setting: Setting
    found: str

    def __str__(self) -> str:
        return f"{self.setting} in {self.ns or 'the machine'}"

    def as_line(self) -> bytes:
        """One line of JSON."""
        fields = {"ns": self.ns, "cookie": self.cookie, "setting": self.setting.as_dict()}
        return json.dumps({**fields, "found": self.found}).encode() + b"\n"

    @classmethod
    def of_line(cls, line: bytes) -> Self:
        """What :meth:`as_line` wrote. Raises ValueError, KeyError or TypeError for other text."""
        fields = json.loads(line)
        return cls(fields["ns"], fields["cookie"], settings.from_dict(fields["setting"]), fields["found"])

    def put_back(self) -> bool:
        """Whether there was anything to put back: what is gone meanwhile is nobody's loss."""
        try:
            with netns.entered(self.ns):
                if _cookie() != self.cookie or self.setting.read() == self.found:
                    return False
                self.setting.write(self.found)
                return True
        except Missing:
            return False
        except OversprayError:
            if netns.exists(self.ns):
                raise
            return False


class Changes(Closing):
    """Settings changed until the block ends, of any namespaces. A context manager; for one thread."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._journal = folder / f"{Owner.me()}-{next(_numbers)}.jsonl"
        self._made: list[Change] = []
        self._length = 0

    def set(self, ns: str, setting: Setting, value: str) -> bool:
        """Give a setting of a namespace a value; where it has it already, this does nothing, and says so.

        Raises:
            BadInput: there is no such device or setting.
            OversprayError: no such namespace, no room for the journal, or the kernel refused.
        """
        with netns.entered(ns):
            found = setting.read()
            if found == value:
                return False
            self._write_down(Change(ns, _cookie(), setting, found))
            setting.write(value)
            return True

    def close(self) -> None:
        """Put everything back, the latest first. Closing twice is harmless.

        OversprayError names what could not be put back, after all the rest was. It stays in the journal:
        closing again tries it again, and so does :func:`put_back_leftovers`.
        """
        _, failed = _put_back(self._made)
        if failed:
            raise OversprayError(f"not put back: {'; '.join(failed)}")
        self._journal.unlink(missing_ok=True)
        self._made.clear()
        self._length = 0

    def _write_down(self, change: Change) -> None:
        line = change.as_line()
        try:
            self._journal.parent.mkdir(parents=True, exist_ok=True)
            with self._journal.open("ab") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            with suppress(OSError):
                os.truncate(self._journal, self._length)  # half a line must not stand before the next one
            raise OversprayError(f"can't write {self._journal}: {error.strerror}") from None
        self._length += len(line)
        self._made.append(change)


def put_back_leftovers(folder: Path = FOLDER) -> list[str]:
    """Put back what dead processes have left, the latest first; returns what that was, a line for each.

    OversprayError names what could not be put back, after all the rest was; its journal stays.
    """
    done: list[str] = []
    failed: list[str] = []
    names = [found for path in folder.glob("*.jsonl") if (found := _NAME.fullmatch(path.name))]
    for name in sorted(names, key=lambda each: (int(each["start"]), int(each["number"])), reverse=True):
        if Owner.of(name).is_dead:
            try:
                done += _replay(folder / name[0])
            except OversprayError as error:
                failed.append(str(error))
    if failed:
        raise OversprayError("; ".join(failed))
    return done


def _replay(path: Path) -> list[str]:
    with _locked(path) as mine:
        if not mine:
            return []
        done, failed = _put_back(_read(path))
        if failed:
            raise OversprayError(f"not put back: {'; '.join(failed)}: 'rm {path}' leaves it so")
        path.unlink()
        return done


def _put_back(changes: Sequence[Change]) -> tuple[list[str], list[str]]:
    """The latest first: what was put back, and what could not be, and why."""
    done, failed = [], []
    for change in reversed(changes):
        try:
            if change.put_back():
                done.append(f"{change}: {change.found}")
        except Exception as error:  # the others must have their turn
            failed.append(f"{change}: {error}")
    return done, failed


def _read(path: Path) -> list[Change]:
    """The changes in order. A last line without its end was not written whole: nothing was changed yet."""
    *lines, _ = path.read_bytes().split(b"\n")
    try:
        return [Change.of_line(line) for line in lines]
    except (ValueError, KeyError, TypeError) as error:
        raise OversprayError(f"not put back: {path} is no journal: {error!r}") from None


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Whether the journal is there still, and ours alone until the block ends."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    except OSError as error:
        raise OversprayError(f"can't open {path}: {error.strerror}") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield os.fstat(handle).st_nlink > 0  # another process may have been quicker
    finally:
        os.close(handle)


def _cookie() -> int:
    """The number of the calling thread's network namespace, which is never used again until the next boot."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        return int.from_bytes(any_socket.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), sys.byteorder)
