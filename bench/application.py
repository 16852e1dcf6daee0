"""Sink ``@PATH``: an application of one's own, in the container, on the application's core.

It is run as ``PATH ADDRESS PORT`` and must read UDP datagrams there until it is terminated. What it
really read is counted by the kernel (UDP's InDatagrams, RFC 4113), so that any application will do;
order and latency are not seen.
"""

import contextlib
import os
import subprocess
import time
from pathlib import Path

from bench.lab_plan import Lab
from bench.sinks import Received, Unseen, Window, allowed
from bench.traffic import SINK_PORT
from steering.errors import BadInput, OversprayError
from steering.netns import entered

_START_SECONDS = 5.0
_END_SECONDS = 2.0


class ApplicationSink(Unseen):
    """One process for each endpoint; see :class:`bench.sinks.Sink`."""

    def __init__(self, lab: Lab, path: Path, core: int) -> None:
        if not os.access(path, os.X_OK) or path.is_dir():
            raise BadInput(f"sink '@{path}' is no program that can be run: name one, chmod +x it")
        self._lab = lab
        self._payload = 0
        self._before = 0
        self._processes: list[subprocess.Popen[bytes]] = []
        try:
            for end in lab.endpoints:
                self._processes.append(_started(path, end.netns, end.ip, core))
            self._wait_for_sockets()
        except BaseException:
            self.close()
            raise

    @property
    def threads(self) -> list[int]:
        """Kernel thread ids of the application, as of now."""
        found = []
        for process in self._processes:
            with contextlib.suppress(OSError):
                found += [int(p.name) for p in Path(f"/proc/{process.pid}/task").iterdir()]
        return found

    def configure(self, run: int, window: Window) -> None:
        """See :class:`bench.sinks.Sink`; which run a datagram is of, the kernel does not say."""
        for process in self._processes:
            if process.poll() is not None:
                raise OversprayError(f"the sink's application ended with {process.returncode}")
        self._before = self._read()

    def counts(self) -> Received:
        """See :class:`bench.sinks.Sink`. The kernel counts datagrams, not their bytes."""
        return Received(self._read() - self._before, 0, 0, 0)

    def close(self) -> None:
        """Terminate the application."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _read(self) -> int:
        return sum(_datagrams(end.netns, ":" in end.ip) for end in self._lab.endpoints)

    def _wait_for_sockets(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        waiting = list(zip(self._lab.endpoints, self._processes, strict=True))
        while waiting:
            end, process = waiting[0]
            if process.poll() is not None:
                raise OversprayError(f"the sink's application ended with {process.returncode}")
            if _listens(end.netns):
                waiting.pop(0)
            elif time.monotonic() > deadline:
                raise OversprayError(f"the sink's application opened no UDP port {SINK_PORT}")
            else:
                time.sleep(0.01)


def _started(path: Path, ns: str, address: str, core: int) -> subprocess.Popen[bytes]:
    # A child starts in the namespace and on the cores of the thread that makes it.
    cores = os.sched_getaffinity(0)
    with entered(ns):
        os.sched_setaffinity(0, allowed(core))
        try:
            return subprocess.Popen(
                [str(path), address, str(SINK_PORT)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        except OSError as error:
            raise BadInput(f"sink '@{path}': {error.strerror}") from None
        finally:
            os.sched_setaffinity(0, cores)


def _datagrams(ns: str, ipv6: bool) -> int:
    """UDP datagrams that applications have read in a namespace."""
    with entered(ns):
        if ipv6:
            text = Path("/proc/thread-self/net/snmp6").read_text()
            return int(dict(line.split() for line in text.splitlines())["Udp6InDatagrams"])
        rows = [r.split() for r in Path("/proc/thread-self/net/snmp").read_text().splitlines()]
    names, values = (row for row in rows if row[0] == "Udp:")
    return int(values[names.index("InDatagrams")])


def _listens(ns: str) -> bool:
    """Whether a socket in the namespace is bound to the sink's port."""
    port = f":{SINK_PORT:04X}"
    with entered(ns):
        tables = [Path("/proc/thread-self/net") / name for name in ("udp", "udp6")]
        lines = [line for table in tables if table.exists() for line in table.open()]
    return any(line.split()[1].endswith(port) for line in lines)
