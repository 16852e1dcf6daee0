"""How a command speaks to a controller that runs: one packet with a JSON object each way, over a socket that
only root can open.
"""

import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from steering.closing import Closing
from steering.errors import BadInput, OversprayError

FOLDER = Path("/run/overspray/control")
_MOST = 1 << 20
_SO_SNDBUFFORCE = 32
_PATIENCE_S = 1.0
"""A controller has packets to look after: how long it waits for someone to say what they connected for."""


def _path(pid: int) -> Path:
    return FOLDER / f"{pid}"


class Request(Closing):
    """What somebody asks, until it is answered, or closed without an answer: they hear that, too."""

    def __init__(self, connection: socket.socket, words: Mapping[str, Any]) -> None:
        self.words = words
        self._connection = connection

    def fileno(self) -> int:
        """For select(2): once it is answered, it can be read when the one who asked has gone."""
        return self._connection.fileno()

    def answer(self, words: Mapping[str, Any]) -> None:
        """Say it. Who has gone meanwhile misses it."""
        with suppress(OSError):
            self._connection.send(json.dumps(words).encode())

    def refuse(self, error: OversprayError) -> None:
        """The asking process raises it again."""
        self.answer({"error": str(error), "bad": isinstance(error, BadInput)})

    def close(self) -> None:
        """Hang up. Closing twice is harmless."""
        self._connection.close()


class Server(Closing):
    """Where this process can be asked, from construction until :meth:`close`. Raises OversprayError."""

    def __init__(self) -> None:
        path = _path(os.getpid())
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.unlink(missing_ok=True)  # of a process that was killed, and had this number
            self._socket.bind(str(path))
            self._socket.listen()
        except OSError as error:
            self._socket.close()
            raise OversprayError(f"can't listen at {path}: {error.strerror}") from None
        self._file = path

    def fileno(self) -> int:
        """For select(2): it can be read when somebody has connected."""
        return self._socket.fileno()

    def take(self) -> Request | None:
        """What the one who connected asks; None: nothing that could be understood."""
        connection, _ = self._socket.accept()
        with suppress(OSError, ValueError, RecursionError):
            connection.settimeout(_PATIENCE_S)
            connection.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _MOST)
            words = json.loads(connection.recv(_MOST))
            if isinstance(words, dict):
                return Request(connection, words)
        connection.close()
        return None

    def close(self) -> None:
        """Hear nobody any more. Closing twice is harmless."""
        self._socket.close()
        self._file.unlink(missing_ok=True)


def forget(pid: int) -> None:
    """Remove what a killed server left."""
    _path(pid).unlink(missing_ok=True)


def ask(pid: int, words: Mapping[str, Any], seconds: float = 60) -> dict[str, Any]:
    """What the controller of that process answers. Raises as :func:`asking`."""
    with asking(pid, words, seconds) as answer:
        return answer


@contextmanager
def asking(pid: int, words: Mapping[str, Any], seconds: float = 60) -> Iterator[dict[str, Any]]:
    """The same, of what is to last as long as the block: the controller hears its end, however it comes.

    Raises:
        BadInput, OversprayError: what it refused, in its words; or it does not answer.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as one:
        one.settimeout(seconds)
        try:
            one.connect(str(_path(pid)))
            one.send(json.dumps(words).encode())
            data = one.recv(_MOST)
        except (FileNotFoundError, ConnectionRefusedError):
            raise OversprayError(
                f"process {pid} takes no orders: it has just ended, or is an 'overspray ab --on', which ends"
                " by itself"
            ) from None
        except OSError as error:
            reason = "it takes too long" if isinstance(error, TimeoutError) else error.strerror
            raise OversprayError(f"ask process {pid}: {reason}: type 'overspray status'") from None
        if not data:
            raise OversprayError(f"process {pid} ended without an answer: type 'overspray status'")
        answer: dict[str, Any] = json.loads(data)
        if "error" in answer:
            raise (BadInput if answer.get("bad") else OversprayError)(str(answer["error"]))
        yield answer
