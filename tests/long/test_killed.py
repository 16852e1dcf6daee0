"""SIGKILL at random moments: what is left is found, and the next command just works."""

import random
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import DYING_WITH_US, ROOT, command, overspray

from bench import lab as labs
from steering import netns

pytestmark = pytest.mark.timeout(600)
MOMENTS = 50
SEED = 1


def killed(line: list[str], after_s: float) -> int:
    """Start a command, kill it, wait until it is dead; returns its process id."""
    process = subprocess.Popen(line, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        time.sleep(after_s)  # the moment is what is tested: any will do
        process.kill()
    return process.pid


@pytest.mark.parametrize("what", ["a run", "lab up"])
def test_at_random_moments(what: str) -> None:
    victim = [*DYING_WITH_US, sys.executable, str(Path(__file__).parents[1] / "lab/victim.py")]
    line = victim if what == "a run" else command("lab", "up")
    assert not labs.show(), "somebody has a lab up: 'overspray lab down' removes it"
    pick = random.Random(SEED)
    for _ in range(MOMENTS):
        pid = killed(line, pick.uniform(0.1, 1.2))
        assert {each.state for each in labs.show() if each.owner == pid} <= {"left over"}
        done = overspray("wire", "bench", "--frames", "1000", "--rounds", "1")
        assert done.returncode == 0, done.stderr
        assert re.search(r"^ +1000 +seen ", done.stdout, re.M)
        assert not [name for name in netns.names() if name.startswith(f"os-{pid}-")]
        states = {each.state for each in labs.show()}
        assert states <= {"up"}, "whole, or gone"
        labs.down()
