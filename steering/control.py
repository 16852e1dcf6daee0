"""How commands reach the controllers that are attached: a Unix socket for each NIC.

One line of JSON asks, one answers; the connection ends with it. The kernel refuses a connection to
the socket of a dead process, so nothing needs to be believed about who lives.
"""

import fcntl
import json
import logging
import os
import re
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from steering import netns
from steering.closing import Closing
from steering.errors import BadInput, OversprayError
from steering.spec import Spec

SOCKETS = Path("/run/overspray/control")
_NAME = re.compile(r"(\d+)-(.+)\.sock")
_LONGEST = 1 << 16
_PATIENCE = 5.0
"""Seconds after which the other side counts as stuck."""
_log = logging.getLogger(__name__)

Request = Mapping[str, Any]
Answer = Callable[[Request], Any]


class Dead(OversprayError):
    """Nobody listens: the controller was killed, or is just ending."""


@dataclass(frozen=True, order=True)
class Address:
    """A NIC, as controllers are found by it: the inode of its network namespace, and its name."""

    inode: int
    device: str

    @classmethod
    def of(cls, ns: netns.Namespace, device: str) -> Self:
        """The address of a device. OversprayError: no such namespace."""
        return cls(netns.identity(ns), device)

    @property
    def path(self) -> Path:
        """Where its controller listens."""
        return SOCKETS / f"{self.inode}-{self.device}.sock"

    @property
    def log(self) -> Path:
        """Where its controller writes when it has no terminal."""
        return self.path.with_suffix(".log")

    @property
    def netns(self) -> str | None:
        """The namespace's name, as ``ip netns`` has it; None where it has none (any more)."""
        for name in netns.names():
            with suppress(OversprayError):  # it went meanwhile
                if netns.identity(name) == self.inode:
                    return name
        return None

    @property
    def place(self) -> str:
        """What people call the namespace."""
        name = self.netns
        if name is not None:
            return f"namespace '{name}'"
        with suppress(OversprayError):
            if netns.identity(1) == self.inode:
                return "the host's namespace"
        return f"namespace {self.inode}"

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {"device": self.device, "netns": self.netns, "inode": self.inode}

    def __str__(self) -> str:
        return f"'{self.device}' in {self.place}"


def read_namespace(text: str | None) -> netns.Namespace:
    """What ``--netns`` names: a name below /run/netns, a path, else a process id."""
    if text is not None and text.isdecimal() and not netns.exists(text):
        return int(text)
    return text


def read_policy(text: str) -> Spec:
    """A policy's spec as another process understands it: the path of one's own is absolute."""
    spec = Spec.parse(text)
    if spec.path is None:
        return spec
    return Spec(f"@{Path(spec.path).expanduser().resolve()}", spec.args)


def listed() -> list[Address]:
    """The NICs that have a socket, whether its controller lives or not."""
    found = (_NAME.fullmatch(path.name) for path in SOCKETS.glob("*.sock"))
    return sorted(Address(int(match[1]), match[2]) for match in found if match)


def find(device: str, ns: netns.Namespace = None) -> Address:
    """The one controller of a device; ``ns`` None: in whichever namespace it is attached.

    Raises:
        BadInput: not attached, or in several namespaces.
    """
    found = [each for each in listed() if each.device == device]
    if ns is not None:
        inode = netns.identity(ns)
        found = [each for each in found if each.inode == inode]
    if not found:
        raise BadInput(f"'{device}' is not attached: 'overspray status' shows what is")
    if len(found) > 1:
        places = ", ".join(each.place for each in found)
        raise BadInput(f"'{device}' is attached in several places ({places}): add --netns")
    return found[0]


def ask(address: Address, request: Request, patience: float | None = _PATIENCE) -> Any:
    """What a controller answers; ``patience`` None: however long it takes.

    Raises:
        Dead: nobody is there to answer.
        BadInput, OversprayError: what the controller says is wrong.
    """
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(patience)
        try:
            line.connect(str(address.path))
            line.sendall(json.dumps(request).encode() + b"\n")
            with line.makefile("rb") as answers:
                text = answers.readline()
        except TimeoutError:
            who = struct.unpack("=3i", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            raise OversprayError(
                f"the controller of {address} (process {who[0]}) does not answer: end it with "
                f"'kill {who[0]}'"
            ) from None
        except OSError:
            text = b""
    if not text:
        raise Dead(f"the controller of {address} has ended: type 'overspray status'")
    reply = json.loads(text)
    if "error" in reply:
        kind = BadInput if reply["code"] == BadInput.exit_code else OversprayError
        raise kind(reply["error"])
    return reply["answer"]


def sweep() -> list[Address]:
    """Remove the sockets of dead controllers; which they were."""
    gone = []
    if SOCKETS.is_dir():
        with _locked():
            for address in listed():
                if not _alive(address):
                    address.path.unlink(missing_ok=True)
                    gone.append(address)
    return gone


class Server(Closing):
    """Answers for one NIC, each question in a thread of its own. A context manager.

    Raises:
        OversprayError: another controller has this NIC.
    """

    def __init__(self, address: Address, answer: Answer) -> None:
        self.address = address
        with _locked():
            if _alive(address):
                raise OversprayError(
                    f"{address} is attached already: see 'overspray status {address.device}', "
                    f"'overspray swap' and 'overspray detach'"
                )
            address.path.unlink(missing_ok=True)
            self._server = _Listener(address.path, answer)
        # A daemon: a signal that comes before the block is entered must not leave it to wait for.
        serve = self._server.serve_forever
        self._thread = threading.Thread(target=serve, args=(0.05,), daemon=True)
        self._thread.start()

    def withdraw(self) -> None:
        """Be found no more; who has asked already will still be answered."""
        with _locked():
            self.address.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Finish the answers and stop listening."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Listener(socketserver.ThreadingUnixStreamServer):
    daemon_threads = False  # answers on their way are waited for
    request_queue_size = 64

    def __init__(self, path: Path, answer: Answer) -> None:
        self.answer = answer
        super().__init__(str(path), _Line)
        path.chmod(0o600)


class _Line(socketserver.StreamRequestHandler):
    timeout = _PATIENCE
    server: _Listener

    def handle(self) -> None:
        try:
            text = self.rfile.readline(_LONGEST)
        except OSError:
            return
        if not text:  # somebody only looked whether we live
            return
        with suppress(OSError):  # it did not wait for the answer
            self.wfile.write(json.dumps(self._reply(text)).encode() + b"\n")

    def _reply(self, text: bytes) -> dict[str, Any]:
        try:
            return {"answer": self.server.answer(json.loads(text))}
        except OversprayError as error:
            return {"error": " ".join(str(error).split()), "code": error.exit_code}
        except Exception as error:  # a bug in an answer must not end the controller
            _log.exception("a request failed: %r", text[:200])
            return {"error": f"{type(error).__name__}: {error}", "code": OversprayError.exit_code}


def _alive(address: Address) -> bool:
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(_PATIENCE)
        try:
            line.connect(str(address.path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:  # it is there and very busy
            return True
    return True


@contextmanager
def _locked() -> Iterator[None]:
    """One at a time comes and goes; the lock goes with a killed process."""
    SOCKETS.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(SOCKETS, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
