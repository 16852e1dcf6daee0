"""``overspray attach`` on a real Docker overlay: two engines in a Swarm, and what runs in their containers."""

import hashlib
import json
import random
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from commands import command
from swarm import WIRE, Container, Engine, EngineEnded, add_network, swarm

from steering import cores, netns
from steering.closing import Closing
from steering.hops import Helper
from steering.waiting import wait_for

pytestmark = [pytest.mark.needs("Docker", "cpumap programs", "tc links"), pytest.mark.timeout(180)]

N, WINDOW = 2048, 64
BYTES = random.Random(1).randbytes(4 << 20)
PORT = 5000
VNI = 4097
"""Docker counts from 4096, which is the ingress network's."""
POLICY = f"roundrobin:mask={1 << cores.usable()[-1]:x}"
NAMED = {"pass_other", "pass_inner"}
"""What may take the stock path: the engines' own talk outside the tunnel, and ARP and broadcasts inside."""
Engines = tuple[Engine, Engine]


@pytest.fixture(scope="module")
def engines() -> Iterator[Engines]:
    try:
        with swarm() as both:
            yield both
    except EngineEnded as error:
        pytest.skip(f"host cannot: run a Docker engine: {error}")


class Flow(Closing):
    """Datagrams from a socket in one container to one in another, and streams; a context manager."""

    def __init__(self, sender: Container, receiver: Container) -> None:
        self.receiver = receiver
        self.sent = 0
        with ExitStack() as stack:
            self._from = stack.enter_context(_socket(sender.ns, socket.SOCK_DGRAM))
            self._to = stack.enter_context(_socket(receiver.ns, socket.SOCK_DGRAM))
            self._to.bind((receiver.address, PORT))
            self._listening = stack.enter_context(_socket(receiver.ns, socket.SOCK_STREAM))
            self._listening.bind((receiver.address, PORT))
            self._listening.listen()
            self._sender = sender
            self._open = stack.pop_all()

    def await_way(self) -> "Flow":
        """Until a datagram arrives: only then has the gossip told both hosts of both containers."""
        wait_for(self._arrives, f"{self.receiver} to be reached", 45)
        return self

    def send(self, count: int) -> None:
        """So many, each of which is received before the window after the next is sent."""
        for first in range(self.sent, self.sent + count, WINDOW):
            numbers = range(first, min(first + WINDOW, self.sent + count))
            for number in numbers:
                self._from.sendto(number.to_bytes(8), (self.receiver.address, PORT))
            got = sorted(int.from_bytes(self._to.recv(64)) for _ in numbers)
            assert got == [*numbers]
        self.sent += count

    def stream(self, meanwhile: Callable[[], object] = lambda: None) -> int:
        """Every byte over TCP, checked; ``meanwhile`` when a half has come. How many segments were sent."""
        before, digest, size = self._segments(), hashlib.sha256(), 0
        with _socket(self._sender.ns, socket.SOCK_STREAM) as sending:
            sending.connect((self.receiver.address, PORT))
            taken, _ = self._listening.accept()
            threading.Thread(target=_send_all, args=(sending,), daemon=True).start()
            with taken:
                taken.settimeout(60)
                while part := taken.recv(1 << 16):
                    if size < len(BYTES) // 2 <= size + len(part):
                        meanwhile()
                    size += len(part)
                    digest.update(part)
        assert (size, digest.digest()) == (len(BYTES), hashlib.sha256(BYTES).digest())
        return self._segments() - before

    def close(self) -> None:
        """Close the sockets. Closing twice is harmless."""
        self._open.close()

    def _arrives(self) -> bool:
        self._from.sendto(b"there?", (self.receiver.address, PORT))
        self._to.settimeout(0.05)
        try:
            self._to.recv(64)
            while True:  # late ones of earlier tries
                self._to.recv(64)
        except TimeoutError:
            return False
