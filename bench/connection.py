"""TCP connections that an ordinary socket opens, and that something else goes on with.

The kernel lets go of a connection, and takes it back, as its checkpoint and restore has it
(TCP_REPAIR, see tcp(7) and the kernel's ``include/uapi/linux/tcp.h``).
"""

import contextlib
import socket
import struct
import time
from dataclasses import dataclass

from steering.errors import OversprayError
from steering.netns import entered

_REPAIR, _REPAIR_QUEUE, _QUEUE_SEQ, _REPAIR_OPTIONS, _TIMESTAMP, _REPAIR_WINDOW = (
    19,
    20,
    21,
    22,
    24,
    29,
)
_ON, _OFF, _OFF_SILENT = 1, 0, -1
_RECEIVE_QUEUE, _SEND_QUEUE = 1, 2
_MSS, _SCALE, _SACK, _STAMPS = 2, 3, 4, 8
"""Kinds of TCP options (RFC 9293, 7323, 2018), as TCP_REPAIR_OPTIONS names them."""
_INFO_STAMPS, _INFO_SACK, _INFO_SCALE = 1, 2, 4
_PATIENCE = 3.0
_LEAST = 88
"""TCP_MIN_MSS: the kernel takes no smaller TCP_MAXSEG."""


@dataclass(frozen=True)
class State:
    """What both ends agreed on, as the connecting end sees it. Numbers as in TCP's header."""

    sequence: int
    """Of the next byte that we send."""
    expected: int
    """Of the next byte that the peer sends."""
    window: tuple[int, ...]
    """struct tcp_repair_window: snd_wl1, snd_wnd, max_window, rcv_wnd, rcv_wup; bytes."""
    segment: int
    """Largest payload of a segment, bytes."""
    options: int
    scale: int
    """Of the peer's window: a power of two."""
    own_scale: int
    stamp: int
    """Our clock for timestamps, ms."""

    @property
    def timestamps(self) -> bool:
        """Whether segments carry timestamps (RFC 7323)."""
        return bool(self.options & _INFO_STAMPS)


class Connection:
    """One connection, whose sending end is taken out of the kernel's hands."""

    def __init__(
        self,
        ns: str,
        source: tuple[str, int],
        target: tuple[str, int],
        segment: int,
        first: int = 0,
    ) -> None:
        """Connect from ``source`` (address, port) in namespace ``ns``, and let go.

        Segments carry ``segment`` bytes; ``first`` is our initial sequence number (0: any).

        Raises:
            OversprayError: nobody listens, or the peer does not answer.
        """
        self._ns, self._source, self._target = ns, source, target
        self._family = socket.AF_INET6 if ":" in source[0] else socket.AF_INET
        self._socket = self._new()
        try:
            self._socket.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_MAXSEG, max(_LEAST, segment + 12)
            )
            if first:
                self._begin_at(first)
            self._socket.settimeout(_PATIENCE)
            self._socket.connect(target)
        except OSError as error:
            self._socket.close()
            raise OversprayError(
                f"connect to {target[0]} port {target[1]}: {error.strerror or error}"
            ) from None
        self._set(_REPAIR, _ON)
        self.state = self._read()

    def give_back(self, sent: int, *, whole: bool) -> None:
        """The kernel has it again, after ``sent`` bytes, and ends it.

        With FIN, and waits for the peer's; or, where it did not get the ``whole``, with RST.
        """
        self._socket.close()  # silent while in repair
        self._socket = self._new()
        self._set(_REPAIR, _ON)
        for queue, number in (
            (_SEND_QUEUE, self.state.sequence + sent),
            (_RECEIVE_QUEUE, self.state.expected),
        ):
            self._set(_REPAIR_QUEUE, queue)
            self._put(_QUEUE_SEQ, struct.pack("=I", number & 0xFFFFFFFF))
        self._socket.connect(self._target)
        self._put(_REPAIR_OPTIONS, self._options())
        if self.state.timestamps:
            self._put(_TIMESTAMP, struct.pack("=I", (self.state.stamp + 10_000) & 0xFFFFFFFF))
        self._put(_REPAIR_WINDOW, struct.pack("=5I", *self.state.window))
        self._set(_REPAIR, _OFF_SILENT)
        if not whole:
            linger = struct.pack("=ii", 1, 0)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        else:
            self._socket.settimeout(_PATIENCE)
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)
                while self._socket.recv(1 << 16):
                    pass
        self._socket.close()

    def drop(self) -> None:
        """Forget it without a word."""
        self._socket.close()

    def _new(self) -> socket.socket:
        with entered(self._ns):
            one = socket.socket(self._family, socket.SOCK_STREAM)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                one.bind(self._source)
                return one
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.01)

    def _begin_at(self, number: int) -> None:
        """A number that is there already is kept by connect()."""
        self._set(_REPAIR, _ON)
        self._set(_REPAIR_QUEUE, _SEND_QUEUE)
        self._put(_QUEUE_SEQ, struct.pack("=I", number))
        self._set(_REPAIR, _OFF_SILENT)

    def _set(self, option: int, value: int) -> None:
        self._socket.setsockopt(socket.IPPROTO_TCP, option, value)

    def _put(self, option: int, value: bytes) -> None:
        self._socket.setsockopt(socket.IPPROTO_TCP, option, value)

    def _queue(self, queue: int) -> int:
        self._set(_REPAIR_QUEUE, queue)
        return self._socket.getsockopt(socket.IPPROTO_TCP, _QUEUE_SEQ) & 0xFFFFFFFF

    def _read(self) -> State:
        info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)
        window = self._socket.getsockopt(socket.IPPROTO_TCP, _REPAIR_WINDOW, 20)
        options, scales = info[5], info[6]
        return State(
            sequence=self._queue(_SEND_QUEUE),
            expected=self._queue(_RECEIVE_QUEUE),
            window=struct.unpack("=5I", window),
            segment=self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG),
            options=options,
            scale=scales & 15,
            own_scale=scales >> 4,
            stamp=self._socket.getsockopt(socket.IPPROTO_TCP, _TIMESTAMP) & 0xFFFFFFFF,
        )

    def _options(self) -> bytes:
        """struct tcp_repair_opt: code, value."""
        state = self.state
        wanted = [(_MSS, state.segment)]
        if state.options & _INFO_SCALE:
            wanted.append((_SCALE, state.scale | state.own_scale << 16))
        if state.options & _INFO_SACK:
            wanted.append((_SACK, 0))
        if state.timestamps:
            wanted.append((_STAMPS, 0))
        return b"".join(struct.pack("=II", code, value) for code, value in wanted)
