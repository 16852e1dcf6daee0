"""Change a running system so that it is always put back.

:class:`Changes` is the only way a setting is changed. It journals the old value, sets the new one
and reads it back. Leaving its block undoes everything in reverse order; if the process is killed,
a small guardian process does; if that dies too, :func:`recover` at the start of the next command.
"""

import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from steering import capabilities, journal, netns, settings
from steering.capabilities import CHANGING
from steering.errors import OversprayError
from steering.journal import Entry, Owner, Place
from steering.settings import Setting, Value

_log = logging.getLogger(__name__)
R = TypeVar("R")


@dataclass
class Outcome:
    """What putting back came to: one line of text for each entry that was not simply restored."""

    restored: int = 0
    gone: list[str] = field(default_factory=list)
    """Nothing left to put back: the namespace or device is gone."""
    foreign: list[str] = field(default_factory=list)
    """Someone else has changed it since: left as it is."""
    failed: list[Entry] = field(default_factory=list)
    """Refused: tried again by the next command."""
    reasons: list[str] = field(default_factory=list)
    """Why, for each of ``failed``."""


class Changes:
    """Settings changed for the length of a block, on any devices and namespaces.

    A setting that has the value already is neither touched nor journalled. Every method raises
    BadInput where there is no such device or setting, and OversprayError where the kernel refuses
    a value or silently keeps another; what was changed before stays until the block ends.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._journal: Path | None = None
        self._guardian: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        outcome = self.undo()
        if outcome.failed and error is None:
            raise OversprayError(
                f"{len(outcome.failed)} settings could not be put back, first {outcome.reasons[0]}"
            )

    def sysctl(self, ns: netns.Namespace, key: str, value: Value) -> None:
        """Set ``/proc/sys/KEY`` (slashes or dots) as the namespace sees it."""
        self.set(ns, {settings.Sysctl(key): value})

    def sysfs(self, ns: netns.Namespace, path: str, value: Value) -> None:
        """Set ``/sys/PATH`` as the namespace sees it; masks of cores are hexadecimal text."""
        self.set(ns, {settings.Sysfs(path): value})

    def feature(self, ns: netns.Namespace, device: str, name: str, on: bool) -> None:
        """Turn an offload feature (kernel name, ``rx-gro``) on or off."""
        self.set(ns, {settings.Feature(device, name): on})

    def channels(self, ns: netns.Namespace, device: str, rx: int, tx: int) -> None:
        """Activate that many receive and transmit queues."""
        self.set(ns, {settings.Channels(device): [rx, tx]})

    def link(self, ns: netns.Namespace, device: str, **attributes: int) -> None:
        """Set numbers that netlink keeps, such as ``mtu``, ``txqlen``, ``gro_max_size``."""
        self.set(ns, {settings.LinkAttribute(device, k): v for k, v in attributes.items()})

    def made(self, ns: netns.Namespace, device: str) -> None:
        """Say that a device of this name is about to be made: undoing removes it."""
        entry = self._inside(ns, False, lambda: _difference(ns, settings.Device(device), True))
        if entry is None:
            raise OversprayError(f"device '{device}' exists already: remove it, or choose another")
        self._write_down([entry])

    def set(self, ns: netns.Namespace, wanted: dict[Setting, Value]) -> None:
        """Set several settings of one namespace: one visit, in the given order."""
        sysfs = any(setting.needs_sysfs for setting in wanted)
        self._inside(ns, sysfs, lambda: self._apply(ns, wanted))

    def undo(self) -> Outcome:
        """Put everything back now, newest first; never raises for one setting that resists."""
        with self._lock:
            outcome = replay(self._journal) if self._journal else Outcome()
            self._journal = None
            if self._guardian is not None:
                self._guardian.terminate()
                self._guardian.wait()
                self._guardian = None
        return outcome

    def _apply(self, ns: netns.Namespace, wanted: dict[Setting, Value]) -> None:
        found = [_difference(ns, setting, value) for setting, value in wanted.items()]
        entries = [entry for entry in found if entry is not None]
        self._write_down(entries)
        for entry in entries:
            try:
                _set(entry.setting, entry.new, str(entry))
            except OversprayError:
                # What did stick is neither the old value nor the journalled new one: undoing
                # would take it for somebody else's.
                entry.setting.write(entry.old)
                raise

    def _write_down(self, entries: list[Entry]) -> None:
        assert self._journal is not None
        if entries:
            with self._lock:
                journal.append(self._journal, entries)

    def _inside(self, ns: netns.Namespace, sysfs: bool, action: Callable[[], R]) -> R:
        with self._lock:
            if self._journal is None:
                # Before entering: a guardian started inside would keep the namespace alive.
                self._journal = journal.create(Owner.of(os.getpid()))
                self._guardian = _start_guardian(self._journal)
        if sysfs:
            return netns.in_namespace(ns, action)
        with netns.entered(ns):
            return action()


def recover() -> list[Outcome]:
    """Put back what dead processes have left; called by every command that changes something.

    Does nothing for who does not own the journals.

    Raises:
        OversprayError: there is something to put back, and not the capabilities for it.
    """
    if not os.access(journal.JOURNALS, os.W_OK):
        return []
    outcomes = []
    for path in sorted(journal.JOURNALS.glob("*.jsonl")):
        owner = journal.owner_of(path)
        if owner.boot != Owner.of(os.getpid()).boot:
            path.unlink(missing_ok=True)  # its settings went with that boot
        elif not owner.alive:
            capabilities.require("putting back what a killed process left", *CHANGING)
            outcomes.append(replay(path))
            path.unlink(missing_ok=True)  # the second try failed as well: do not nag for ever
    return outcomes


def replay(path: Path) -> Outcome:
    """Undo a journal's entries, newest first, and remove it; what failed stays in it."""
    outcome = Outcome()
    with journal.locked(path) as mine:
        if mine:
            entries = journal.read(path)
            for (place, sysfs), group in groupby(
                reversed(entries), lambda entry: (entry.place, entry.setting.needs_sysfs)
            ):
                _restore_in(place, sysfs, list(group), outcome)
            journal.rewrite(path, list(reversed(outcome.failed)))
    for line in (*outcome.foreign, *outcome.reasons):
        _log.warning("not put back: %s", line)
    return outcome


def _restore_in(place: Place, sysfs: bool, entries: list[Entry], outcome: Outcome) -> None:
    """Restore entries of one namespace; whatever goes wrong is noted."""
    where = place.find()
    if where is None:
        outcome.gone += [str(entry) for entry in entries]
        return

    def restore_all() -> None:
        for entry in entries:
            try:
                _restore(entry, outcome)
            except Exception as error:  # the others must still have their turn
                outcome.failed.append(entry)
                outcome.reasons.append(f"{entry}: {error}")

    try:
        if sysfs:
            netns.in_namespace(where, restore_all)
        else:
            with netns.entered(where):
                restore_all()
    except Exception as error:
        outcome.failed += entries
        outcome.reasons += [f"{entry}: {error}" for entry in entries]


def _restore(entry: Entry, outcome: Outcome) -> None:
    if _index_of(entry.setting) != entry.index:
        outcome.gone.append(str(entry))
        return
    try:
        now = entry.setting.read()
    except OversprayError:
        outcome.gone.append(str(entry))
        return
    if now == entry.new:
        _set(entry.setting, entry.old, str(entry))
        outcome.restored += 1
    elif now != entry.old:
        outcome.foreign.append(f"{entry}: it is {now} now, not {entry.new} as we set it")


def _difference(ns: netns.Namespace, setting: Setting, value: Value) -> Entry | None:
    """The change that is needed, or None. In the namespace already."""
    old, new = setting.read(), setting.canonical(value)
    if old == new:
        return None
    return Entry(Place.here(ns), setting, _index_of(setting), old, new)


def _set(setting: Setting, value: Value, name: str) -> None:
    setting.write(value)
    now = setting.read()
    if now != value:
        raise OversprayError(f"{name}: asked for {value}, but it is {now}")


def _index_of(setting: Setting) -> int:
    """The interface index of the setting's device; 0 without one, -1 where it is gone."""
    if setting.device is None:
        return 0
    try:
        return socket.if_nametoindex(setting.device)
    except OSError:
        return -1


def _start_guardian(path: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "steering.guardian", str(path)],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
