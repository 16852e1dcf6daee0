"""Whose something is, and whether its owner has surely ended."""

import os
import re
import subprocess
import sys
from dataclasses import replace

from steering.owner import PATTERN, Owner, start_of


def test_it_is_read_as_it_is_written() -> None:
    found = re.fullmatch(PATTERN, str(Owner.me()))
    assert found and Owner.of(found) == Owner.me()
    assert Owner.me().pid == os.getpid()


def test_only_what_has_surely_ended_is_dead() -> None:
    me = Owner.me()
    assert not me.is_dead
    assert replace(me, start=me.start + 1).is_dead, "the id is in use again"
    assert not replace(me, start=me.start + 1, space=me.space - 1).is_dead, "it can't be seen from here"


def test_a_killed_process_is_dead_before_anybody_waits_for_it() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    with process:
        owner = replace(Owner.me(), pid=process.pid, start=start_of(process.pid) or 0)
        assert not owner.is_dead
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a zombie now
        assert owner.is_dead
    assert owner.is_dead
