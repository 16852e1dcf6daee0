"""Traffic between containers: datagrams and streams, of sockets that are opened in their namespaces."""

import hashlib
import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from swarm import Container

from steering import netns
from steering.closing import Closing
from steering.waiting import wait_for

WINDOW = 64
BYTES = random.Random(1).randbytes(4 << 20)
PORT = 5000


class Flow(Closing):
    """Datagrams from a socket in one container to one in another, and streams; a context manager."""

    def __init__(self, sender: Container, receiver: Container) -> None:
        self._sender, self._receiver = sender, receiver
        self._address = (receiver.address, PORT)
        self.arrived = 0
        """Datagrams."""
        self.segments = 0
        """Sent over TCP."""
        self._number = 0
        with ExitStack() as stack:
            self._from = stack.enter_context(_socket(sender.ns, socket.SOCK_DGRAM))
            self._to = stack.enter_context(_socket(receiver.ns, socket.SOCK_DGRAM))
            self._listening = stack.enter_context(_socket(receiver.ns, socket.SOCK_STREAM))
            self._to.bind(self._address)
            self._listening.bind(self._address)
            self._listening.listen()
            self._open = stack.pop_all()

    def await_way(self) -> None:
        """Until a datagram arrives: only then has the gossip told both hosts of both containers."""

        def arrives() -> bool:
            self._from.sendto(b"", self._address)
            with suppress(TimeoutError):
                return self._receive(0.05) is not None
            return False

        wait_for(arrives, lambda: f"{self._address} to be reached", 45)

    def send(self, count: int) -> None:
        """So many datagrams, in windows: each is received before the next window is sent."""
        while count:
            window = {self._number + at for at in range(min(WINDOW, count))}
            for number in sorted(window):
                self._from.sendto(number.to_bytes(8), self._address)
            self._number += len(window)
            count -= len(window)
            while window:
                if got := self._receive(20):  # else one that looked for the way, and was late
                    window.remove(int.from_bytes(got))

    def stream(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        """BYTES over TCP, every one checked; ``meanwhile`` is called when half of them have come."""
        before, digest, size = _segments(self._sender), hashlib.sha256(), 0
        with _socket(self._sender.ns, socket.SOCK_STREAM) as sending:
            sending.connect(self._address)
            taken, _ = self._listening.accept()
            threading.Thread(target=_send_all, args=(sending,), daemon=True).start()
            with taken:
                taken.settimeout(60)
                while part := taken.recv(1 << 16):
                    if size < len(BYTES) // 2 <= size + len(part):
                        meanwhile()
                    size += len(part)
                    digest.update(part)
            both = (self._sender, self._receiver)
            wait_for(lambda: all(map(_closed, both)), "the last acknowledgement")
        assert (size, digest.digest()) == (len(BYTES), hashlib.sha256(BYTES).digest())
        self.segments += _segments(self._sender) - before

    def close(self) -> None:
        """Close the sockets. Closing twice is harmless."""
        self._open.close()

    def _receive(self, seconds: float) -> bytes:
        self._to.settimeout(seconds)
        data = self._to.recv(64)
        self.arrived += 1
        return data


def _socket(ns: str, kind: socket.SocketKind) -> socket.socket:
    with netns.entered(ns):
        return socket.socket(socket.AF_INET, kind)


def _send_all(sending: socket.socket) -> None:
    sending.sendall(BYTES)
    sending.shutdown(socket.SHUT_WR)


def _segments(of: Container) -> int:
    """That it has sent over TCP, by the kernel's count, in which those sent again stand apart: its frames."""
    with netns.entered(of.ns):
        names, values = (line.split() for line in _read("net/snmp").splitlines() if line.startswith("Tcp:"))
    return sum(int(values[names.index(name)]) for name in ("OutSegs", "RetransSegs"))


def _closed(of: Container) -> bool:
    """Whether no connection of it waits for anything but time."""
    with netns.entered(of.ns):
        states = [line.split()[3] for line in _read("net/tcp").splitlines()[1:]]
    return set(states) <= {"06", "0A"}  # TIME_WAIT, LISTEN


def _read(name: str) -> str:
    return Path("/proc/thread-self", name).read_text()


@contextmanager
def sending(way: Flow) -> Iterator[None]:
    """Datagrams go that way, each of which is received, until the end of the block."""
    stop, errors = threading.Event(), []

    def run() -> None:
        try:
            while not stop.is_set():
                way.send(WINDOW)
        except BaseException as error:  # a thread's would be lost
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert errors == []


@contextmanager
def flow(sender: Container, receiver: Container) -> Iterator[Flow]:
    """Once there is a way from the one to the other."""
    with Flow(sender, receiver) as found:
        found.await_way()
        yield found
