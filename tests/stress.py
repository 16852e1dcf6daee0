"""The lab tests over and over, every second time with every core busy: what flakes, shows itself here.

python tests/stress.py [--times 30] [-- ARGUMENTS OF PYTEST]
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from commands import DYING_WITH_US, ROOT

SPIN = "while True: pass"


@contextmanager
def every_core_busy() -> Iterator[None]:
    """One loop a core that never sleeps, until the end of the block."""
    loops = [
        subprocess.Popen([*DYING_WITH_US, "taskset", "-c", str(core), sys.executable, "-c", SPIN])
        for core in sorted(os.sched_getaffinity(0))
    ]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def once(arguments: list[str]) -> tuple[bool, str]:
    """One run of the lab tests: whether it passed, and its whole output."""
    line = [sys.executable, "-m", "pytest", *(arguments or ["tests/lab"])]
    done = subprocess.run(
        line, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return done.returncode == 0, done.stdout


def main() -> int:
    """Exit code 1 where any run failed; its output is printed whole."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--times", type=int, default=30, help="how many runs")
    parser.add_argument("arguments", nargs="*", help="for pytest; tests/lab if left out")
    options = parser.parse_args()
    failed = 0
    for number in range(1, options.times + 1):
        begin = time.monotonic()
        busy = number % 2 == 0
        if busy:
            with every_core_busy():
                passed, said = once(options.arguments)
        else:
            passed, said = once(options.arguments)
        failed += not passed
        if not passed:
            print(said)
        state = "busy " if busy else "quiet"
        last = said.strip().splitlines()[-1].strip("= ")
        print(f"{number}/{options.times} {state} {time.monotonic() - begin:4.0f} s: {last}", flush=True)
    print(f"{options.times - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
