"""Lock files of `attach`, and who cleans up behind a killed one."""

import fcntl
import json
import os
from io import FileIO
from pathlib import Path

import pytest

from steering import attached, undo
from steering.attached import Holder


def test_who_puts_right_waits_for_another_that_is_at_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a guardian would end, and the host not be right yet."""
    path = tmp_path / "4026531840-2"
    killed = Holder(os.getpid(), "nic0", "host", 4026531840, 2, start=1)  # an earlier process of our number
    path.write_text(json.dumps(killed.__dict__))
    other, tries, real = FileIO(path, "r+"), [], attached._locked

    def locked(path: Path) -> FileIO | None:
        tries.append(path)
        if len(tries) == 3:
            path.unlink()
            other.close()
        return real(path)

    monkeypatch.setattr(attached, "FOLDER", tmp_path)
    monkeypatch.setattr(attached, "_locked", locked)
    monkeypatch.setattr(undo, "put_back_leftovers", list)
    with other:
        fcntl.flock(other, fcntl.LOCK_EX)
        attached.put_right()
    assert len(tries) == 3 and not path.exists()
