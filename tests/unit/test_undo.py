"""The journal of changes: what is put back, in which order, and what a killed process leaves."""

import errno
import fcntl
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from steering import netns, settings, undo
from steering.errors import OversprayError
from steering.owner import Owner
from steering.settings import Missing, Setting
from steering.undo import Change, Changes, put_back_leftovers
from steering.waiting import wait_for


class World:
    """Namespaces and what is in them: values by name."""

    def __init__(self) -> None:
        self.values = {"a": "0", "b": "0", "c": "0"}
        self.refused: set[str] = set()
        self.written: list[tuple[str, str]] = []
        self.namespaces = {"ns"}

    @contextmanager
    def entered(self, name: str) -> Iterator[None]:
        if not self.exists(name):
            raise OversprayError(f"no network namespace '{name}'")
        yield

    def exists(self, name: str) -> bool:
        return name in self.namespaces


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(netns, "entered", made.entered)
    monkeypatch.setattr(netns, "exists", made.exists)

    @dataclass(frozen=True)
    class Fake(Setting):
        name: str

        def __str__(self) -> str:
            return self.name

        def _read(self) -> str:
            if self.name not in made.values:
                raise Missing(f"no {self.name}")
            return made.values[self.name]

        def _write(self, value: str) -> None:
            if self.name in made.refused:
                raise OversprayError("refused")
            made.values[self.name] = value
            made.written.append((self.name, value))

    monkeypatch.setitem(settings.KINDS, "Fake", Fake)
    return made


def fake(name: str) -> Setting:
    return settings.from_dict({"kind": "Fake", "name": name})


def journals(folder: Path) -> list[Path]:
    return sorted(folder.glob("*"))


def dead() -> Owner:
    me = Owner.me()
    return replace(me, start=me.start + 1)


def left_by(owner: Owner, folder: Path, number: int = 0, **found: str) -> Path:
    """A journal as its owner wrote it."""
    lines = [Change("ns", undo._cookie(), fake(name), value).as_line() for name, value in found.items()]
    path = folder / f"{owner}-{number}.jsonl"
    path.write_bytes(b"".join(lines))
    return path


def test_all_is_put_back_the_latest_first(world: World, tmp_path: Path) -> None:
    with Changes(tmp_path) as changes:
        changes.set("ns", fake("a"), "1")
        changes.set("ns", fake("b"), "1")
        changes.set("ns", fake("a"), "2")
        assert world.values == {"a": "2", "b": "1", "c": "0"}
        world.written.clear()
    assert world.written == [("a", "1"), ("b", "0"), ("a", "0")]
    assert not journals(tmp_path)
    changes.close()
    assert world.values == {"a": "0", "b": "0", "c": "0"}


def test_what_was_found_is_written_down_before_it_is_changed(world: World, tmp_path: Path) -> None:
    world.refused.add("a")
    changes = Changes(tmp_path)
    with pytest.raises(OversprayError, match="refused"):
        changes.set("ns", fake("a"), "1")
    [journal] = journals(tmp_path)
    assert undo._read(journal) == [Change("ns", undo._cookie(), fake("a"), "0")]
    changes.close()
    assert not journals(tmp_path)


def test_what_is_in_effect_is_left_alone(world: World, tmp_path: Path) -> None:
    with Changes(tmp_path) as changes:
        changes.set("ns", fake("a"), "0")
        assert not world.written and not journals(tmp_path)


def test_a_value_that_is_silently_not_kept_is_an_error_and_put_back(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = type(fake("a"))
    with Changes(tmp_path) as changes:
        with monkeypatch.context() as patch:
            patch.setattr(kind, "_write", lambda self, value: world.values.update(a="7"))
            with pytest.raises(OversprayError, match="set a to 1: the kernel took it, but it is 7"):
                changes.set("ns", fake("a"), "1")
        assert world.values["a"] == "7"
    assert world.values["a"] == "0"


def test_one_that_can_not_be_put_back_does_not_keep_the_others(world: World, tmp_path: Path) -> None:
    changes = Changes(tmp_path)
    for name in "abc":
        changes.set("ns", fake(name), "1")
    world.refused.add("b")
    with pytest.raises(OversprayError, match=r"^not put back: b in ns: refused$"):
        changes.close()
    assert world.values == {"a": "0", "b": "1", "c": "0"}
    assert journals(tmp_path)
    world.refused.clear()
    changes.close()
    assert world.values["b"] == "0" and not journals(tmp_path)


def test_what_is_gone_is_nobodys_loss(world: World, tmp_path: Path) -> None:
    world.namespaces.add("other")
    with Changes(tmp_path) as changes:
        changes.set("ns", fake("a"), "1")
        changes.set("ns", fake("b"), "1")
        changes.set("other", fake("c"), "1")
        del world.values["b"]
        world.namespaces.remove("other")
    assert world.values == {"a": "0", "c": "1"}
    assert not journals(tmp_path)


def test_another_namespace_of_that_name_is_left_alone(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Changes(tmp_path) as changes:
        changes.set("ns", fake("a"), "1")
        monkeypatch.setattr(undo, "_cookie", lambda: 1)
    assert world.values["a"] == "1" and not journals(tmp_path)


def test_only_what_dead_processes_left_is_put_back(world: World, tmp_path: Path) -> None:
    world.values.update(a="1", b="1", c="1")
    left_by(dead(), tmp_path, a="0")
    lives = left_by(Owner.me(), tmp_path, b="0")
    foreign = tmp_path / "notes.jsonl"
    foreign.write_text("")
    assert put_back_leftovers(tmp_path) == ["a in ns: 0"]
    assert world.values == {"a": "0", "b": "1", "c": "1"}
    assert journals(tmp_path) == sorted([lives, foreign])
    assert put_back_leftovers(tmp_path) == []
    assert put_back_leftovers(tmp_path / "nowhere") == []


def test_journals_are_put_back_the_latest_first(world: World, tmp_path: Path) -> None:
    world.values["a"] = "11"
    for number in (10, 2, 9):
        left_by(dead(), tmp_path, number, a=str(number))
    put_back_leftovers(tmp_path)
    assert [value for _, value in world.written] == ["10", "9", "2"]


@pytest.mark.parametrize("kept", [1, 20, -1])
def test_a_torn_last_line_is_left_out(world: World, tmp_path: Path, kept: int) -> None:
    world.values.update(a="1", b="1")
    path = left_by(dead(), tmp_path, a="0")
    whole = path.read_bytes()
    path.write_bytes(whole + left_by(dead(), tmp_path, 1, b="0").read_bytes()[:kept])
    (tmp_path / f"{dead()}-1.jsonl").unlink()
    assert put_back_leftovers(tmp_path) == ["a in ns: 0"]
    assert world.values["b"] == "1", "it was never changed by the one that was killed while writing"
    assert not journals(tmp_path)


@pytest.mark.parametrize(
    "line", ["{}", "[]", "}", '{"ns": 1, "cookie": 1, "setting": {"kind": "no"}, "found": 1}']
)
def test_what_is_no_journal_is_said_and_kept(world: World, tmp_path: Path, line: str) -> None:
    world.values["a"] = "1"
    left_by(dead(), tmp_path, 0, a="0")
    path = left_by(dead(), tmp_path, 1)
    path.write_text(line + "\n")
    with pytest.raises(OversprayError, match=rf"{path} is no journal"):
        put_back_leftovers(tmp_path)
    assert world.values["a"] == "0" and journals(tmp_path) == [path]


def test_a_leftover_that_can_not_be_put_back_stays(world: World, tmp_path: Path) -> None:
    world.values.update(a="1", b="1")
    path = left_by(dead(), tmp_path, a="0", b="0")
    world.refused.add("b")
    with pytest.raises(OversprayError, match=f"not put back: b in ns: refused: 'rm {path}' leaves it so"):
        put_back_leftovers(tmp_path)
    assert world.values == {"a": "0", "b": "1", "c": "0"} and journals(tmp_path) == [path]


def test_two_do_not_put_back_the_same_journal(world: World, tmp_path: Path) -> None:
    """The second waits for the first, and then finds that nothing is left to do."""
    world.values["a"] = "1"
    path = left_by(dead(), tmp_path, a="0")
    done: list[str] = []
    second = threading.Thread(target=lambda: done.extend(put_back_leftovers(tmp_path)), daemon=True)
    waits = re.compile(rf"-> FLOCK .*:{path.stat().st_ino} ")
    with path.open() as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        second.start()
        wait_for(
            lambda: bool(waits.search(Path("/proc/locks").read_text())) or not second.is_alive(),
            lambda: "the second to wait for the lock",
        )
        path.unlink()
    second.join()
    assert done == [] and not world.written


def test_without_room_for_the_journal_nothing_is_changed(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Changes(tmp_path) as changes:
        for kept, name in enumerate("ab"):
            with monkeypatch.context() as patch:
                patch.setattr(os, "fsync", full)
                with pytest.raises(OversprayError, match=r"can't write .*jsonl: No space left on device"):
                    changes.set("ns", fake(name), "1")
            assert world.values[name] == "0"
            assert sum(len(undo._read(path)) for path in journals(tmp_path)) == kept
            changes.set("ns", fake(name), "1")
    assert world.values == {"a": "0", "b": "0", "c": "0"}
