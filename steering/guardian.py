"""Waits for its controller's death and then puts back what the controller's journal says.

Started by :class:`steering.undo.Changes` in a session of its own, so that a terminal's ^C or a
killed process group does not take it along. What it needs is imported only when it has to act.
"""

import os
import select
import sys
from pathlib import Path


def wait_for_death(pid: int) -> None:
    """Return when the process has ended, at once when there is none."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        poll.poll()
    finally:
        os.close(handle)


def main(journal: Path) -> None:
    """Guard one journal."""
    # The id is in the name: `<boot>-<pid>-…`. If the controller died before we came here and its
    # id belongs to another process by now, the next command puts things back.
    wait_for_death(int(journal.name.split("-")[1]))
    from steering.undo import replay

    replay(journal)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
