"""Any application as a sink: started in its container, on a core that one chooses, and counted at its socket.

It needs to know nothing of this: its socket is found by its port, a second handle of it is taken
(pidfd_getfd(2)), and the sink's filter goes there, which counts every datagram and lets it through. What the
application has had is what came to the socket and found room.
"""

import os
import shlex
import shutil
import signal
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench import iperf3
from bench.wire import on_core
from steering import libc, netns
from steering.closing import Closing
from steering.errors import BadInput, OversprayError
from steering.waiting import wait_for

_PIDFD_GETFD = 438
_SO_MEMINFO, _MEMINFO_WAITING, _MEMINFO_DROPS = 55, 0, 8
_DYING_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")
_START_S, _END_S = 20.0, 2.0
_LAST_WORDS = 2048
"""Bytes of what it prints that are kept."""


@dataclass(frozen=True)
class Runs:
    """Which command is run in each container, and on which core; ``{address}`` and ``{port}`` stand for what
    the wire sends to.
    """

    core: int
    command: str

    def __str__(self) -> str:
        return f"iperf3:core={self.core}" if self.is_iperf3 else f"app:core={self.core},run={self.command}"

    @property
    def is_iperf3(self) -> bool:
        """Whether it must be asked before it opens its socket, which is for one flow alone."""
        return self.command == iperf3.COMMAND

    def check(self) -> None:
        """BadInput where it is no command, or not installed."""
        if shutil.which(self.words("::", 1)[0]) is None:
            raise BadInput(f"sink '{self}': no program '{self.words('::', 1)[0]}' here: install it")

    def words(self, address: str, port: int) -> list[str]:
        """The command's words; BadInput where a quote is open or there is none."""
        try:
            words = shlex.split(self.command)
        except ValueError as error:
            raise BadInput(f"sink '{self}': {error}") from None
        if not words:
            raise BadInput("sink 'app': choose app:[core=N,]run=COMMAND, with {address} and {port} in it")
        return [word.replace("{address}", address).replace("{port}", str(port)) for word in words]


class Application(Closing):
    """Runs from construction until :meth:`close`, as its own group of processes. A context manager.

    Raises OversprayError where it ends, or opens no UDP socket at that port, within 20 seconds.
    """

    def __init__(self, namespace: str, address: str, port: int, how: Runs) -> None:
        self._port, self._words = port, how.words(address, port)
        self._dropped = 0
        self.control: socket.socket | None = None
        """Over which iperf3 was asked for a test (`bench.iperf3`)."""
        with ExitStack() as stack:
            self._tail, printed = stack.enter_context(_keeping_the_end())
            with os.fdopen(printed, "wb") as output, netns.entered(namespace), on_core(how.core):
                self._process = subprocess.Popen(
                    [*_DYING_WITH_US, *self._words],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            stack.callback(self._end)
            if how.is_iperf3:
                self.control = stack.enter_context(self._asked(namespace, address))
            wait_for(lambda: self._has_ended() or self._places(), self._what("to open its port"), _START_S)
            if self._has_ended():
                raise self._ended()
            self.sockets = [stack.enter_context(self._taken(*place)) for place in self._places()]
            self._open = stack.pop_all()

    @property
    def threads(self) -> list[int]:
        """Their ids, as the kernel knows them."""
        tasks = (Path(f"/proc/{process}/task") for process in self._processes())
        return [int(task.name) for folder in tasks for task in _listed(folder)]

    @property
    def dropped(self) -> int:
        """Datagrams for which its sockets had no room, since :meth:`forget`."""
        return (self._told(_MEMINFO_DROPS) - self._dropped) & 0xFFFFFFFF

    @property
    def waiting(self) -> int:
        """Bytes of memory that hold what it has not taken yet."""
        return self._told(_MEMINFO_WAITING)

    def forget(self) -> None:
        """Count from 0 again; raises OversprayError where the application has ended."""
        if self._has_ended():
            raise OversprayError(self._what("ended before the run"))
        self._dropped = self._told(_MEMINFO_DROPS)

    def close(self) -> None:
        """End it. Closing twice is harmless."""
        self._open.close()

    def _asked(self, namespace: str, address: str) -> socket.socket:
        """The connection over which iperf3 was asked for a test."""
        with netns.entered(namespace):
            control = wait_for(
                lambda: self._has_ended() or iperf3.connected(address, self._port), self._what("to listen")
            )
        if not isinstance(control, socket.socket):
            raise self._ended()
        try:
            iperf3.ask(control)
        except (OSError, OversprayError) as error:
            control.close()
            raise OversprayError(f"{self._what('is asked for a test')}: {error}") from None
        return control

    def _ended(self) -> OversprayError:
        self._end()  # its children may print, too
        said = b""
        with suppress(subprocess.TimeoutExpired):  # one of them left its group, and lives
            said, _ = self._tail.communicate(timeout=_END_S)
        last = said.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        return OversprayError(f"{self._what('ended')}: {last[-1]}")

    def _told(self, what: int) -> int:
        """A figure that the kernel keeps of a socket, summed over its sockets."""
        told = (one.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 4 * (what + 1)) for one in self.sockets)
        return sum(struct.unpack_from("=I", each, 4 * what)[0] for each in told)

    def _processes(self) -> list[int]:
        """Those of its group: it may be a shell, or fork."""
        group = self._process.pid
        return [int(each.name) for each in _listed(Path("/proc")) if _group(each) == group]

    def _places(self) -> list[tuple[int, int]]:
        """Which of its processes holds a UDP socket at the port, and as which file descriptor."""
        inodes = _bound(self._process.pid, self._port)
        found: dict[str, tuple[int, int]] = {}
        for process in self._processes() if inodes else []:
            for handle in _listed(Path(f"/proc/{process}/fd")):
                with suppress(OSError):
                    target = str(handle.readlink())
                    if target in inodes:
                        found.setdefault(target, (process, int(handle.name)))
        return [*found.values()]

    def _taken(self, process: int, handle: int) -> socket.socket:
        try:
            pidfd = os.pidfd_open(process)
            try:
                return socket.socket(fileno=libc.syscall(_PIDFD_GETFD, pidfd, handle, 0))
            finally:
                os.close(pidfd)
        except OSError as error:
            raise OversprayError(f"{self._what('gives no handle of its socket')}: {error.strerror}") from None

    def _has_ended(self) -> bool:
        return self._process.poll() is not None

    def _end(self) -> None:
        """Ask, then make; its children too."""
        for number, patience in ((signal.SIGTERM, _END_S), (signal.SIGKILL, None)):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(patience)

    def _what(self, event: str) -> str:
        return f"the application '{shlex.join(self._words)}' {event}"


@contextmanager
def _keeping_the_end() -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """A process that keeps the end of what is written to a descriptor, which whoever takes it closes:
    an application may print as much as it likes, and costs neither memory nor a thread of ours."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as source:
        tail = subprocess.Popen(
            [*_DYING_WITH_US, "tail", "-c", str(_LAST_WORDS)], stdin=source, stdout=subprocess.PIPE
        )
    with tail:
        try:
            yield tail, writing
        finally:
            tail.kill()


def _bound(process: int, port: int) -> set[str]:
    """UDP sockets at a port, in that process's network namespace, as /proc/PID/fd calls them."""
    found: set[str] = set()
    for table in ("udp", "udp6"):
        with suppress(OSError):
            for line in Path(f"/proc/{process}/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if int(fields[1].rpartition(":")[2], 16) == port:
                    found.add(f"socket:[{fields[9]}]")
    return found


def _group(process: Path) -> int | None:
    """The process group; None: no process, or gone."""
    try:
        return int((process / "stat").read_bytes().rpartition(b")")[2].split()[2])
    except (OSError, ValueError, IndexError):
        return None


def _listed(folder: Path) -> list[Path]:
    """What is in it and named by a number; nothing where it is gone."""
    try:
        return [each for each in folder.iterdir() if each.name.isdecimal()]
    except OSError:
        return []
