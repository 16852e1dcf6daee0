"""The journal's text, its owners, and the one form that a setting's value has."""

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steering import journal, undo
from steering.errors import BadInput, OversprayError
from steering.journal import Entry, Owner, Place
from steering.settings import Channels, Device, Feature, LinkAttribute, Setting, Sysctl, Sysfs

SETTINGS: list[Setting] = [
    Sysctl("net/ipv4/ip_forward"),
    Sysfs("class/net/nic0/threaded"),
    Feature("nic0", "rx-gro"),
    Channels("nic0"),
    LinkAttribute("nic0", "gro_max_size"),
    Device("helper0"),
]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: type(setting).__name__)
def test_an_entry_survives_its_line(setting: Setting) -> None:
    entry = Entry(Place("/run/netns/a", 4711), setting, 3, [1, 2], "x y")
    assert Entry.from_line(entry.as_line()) == entry
    assert "\n" not in entry.as_line()


def test_a_line_cut_short_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    entries = [Entry(Place("", 1), setting, 0, "0", "1") for setting in SETTINGS]
    journal.append(path, entries)
    path.write_bytes(path.read_bytes()[:-5])
    assert journal.read(path) == entries[:-1]


def test_owners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "JOURNALS", tmp_path)
    me = Owner.of(os.getpid())
    first, second = journal.create(me), journal.create(me)
    assert first != second
    assert journal.owner_of(first) == journal.owner_of(second) == me
    assert me.alive
    assert not Owner(me.pid, me.started + 1, me.boot).alive, "the id came round again"
    with pytest.raises(OversprayError, match="no journal"):
        journal.owner_of(tmp_path / "notes.txt")


def test_a_zombie_is_dead() -> None:
    child = subprocess.Popen(["sleep", "60"])
    owner = Owner.of(child.pid)
    assert owner.alive
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not owner.alive
    child.wait()


def test_a_journal_of_an_earlier_boot_is_thrown_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "JOURNALS", tmp_path)
    path = journal.create(Owner(os.getpid(), 1, "00000000"))
    journal.append(path, [Entry(Place("", 1), SETTINGS[0], 0, "0", "1")])
    assert undo.recover() == []
    assert not path.exists()


@given(mask=st.integers(0, (1 << 130) - 1))
def test_a_mask_has_one_form(mask: int) -> None:
    setting = Sysfs("class/net/nic0/queues/rx-0/rps_cpus")
    digits = f"{mask:040x}"
    with_commas = ",".join(digits[at : at + 8] for at in range(0, len(digits), 8))
    assert setting.canonical(with_commas) == setting.canonical(f"{mask:x}") == f"{mask:x}"


def test_forms_of_values() -> None:
    assert Sysctl("a/b").canonical(" 1\t2\n") == "1 2"
    assert Sysctl("a/b").canonical(True) == "1"
    assert Sysctl("net.core.somaxconn").path == Path("/proc/sys/net/core/somaxconn")
    assert Sysfs("class/net/nic0/threaded").device == "nic0"
    assert LinkAttribute("a", "mtu").canonical("1500") == 1500
    with pytest.raises(BadInput, match="a pair"):
        Channels("a").canonical("2")
