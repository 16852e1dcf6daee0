"""Runs a command, and at the end of its stdin kills whatever that has left running in the background.

So that nothing outlives a test that is killed: who holds the other end of the pipe is gone then.
"""

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # orphans come to us
    code = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL).returncode
    os.write(1, f"exit {code}\n".encode())
    sys.stdin.read()
    me = os.getpid()
    while children := Path(f"/proc/{me}/task/{me}/children").read_text().split():
        for child in map(int, children):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


main()
