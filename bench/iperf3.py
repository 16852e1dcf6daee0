"""iperf3 as a sink: its server, told by a control connection what its own client would tell it.

iperf3 opens its UDP socket only when a client has asked for a test over TCP. This is that client, in the
container with the server; the datagrams are the wire's. What iperf3 says of loss and jitter is no use, for it
takes our stamp for its own; that it reads like iperf3, and how many bytes it had, is.

States and the exchange are those of iperf3's src/iperf_api.h and iperf_client_api.c; parameters are JSON
behind their length (4 bytes, big endian).
"""

import json
import socket
import struct
from contextlib import suppress
from typing import Any

from steering.errors import OversprayError

TEST_START, TEST_RUNNING, TEST_END = 1, 2, 4
PARAM_EXCHANGE, CREATE_STREAMS = 9, 10
EXCHANGE_RESULTS, DISPLAY_RESULTS, IPERF_DONE = 13, 14, 16
COOKIE = b"overspray".ljust(36, b"0") + b"\0"
_RESULTS = {
    "cpu_util_total": 0,
    "cpu_util_user": 0,
    "cpu_util_system": 0,
    "sender_has_retransmits": 0,
    "streams": [
        {
            "id": 1,
            "bytes": 0,
            "retransmits": 0,
            "jitter": 0,
            "errors": 0,
            "packets": 0,
            "start_time": 0,
            "end_time": 1,
        }
    ],
}


COMMAND = "iperf3 --server --one-off --port {port} --bind {address}"
_ENDLESS_UDP = {"udp": True, "omit": 0, "time": 0, "num": 0, "blockcount": 0, "parallel": 1, "len": 1460}
_PATIENCE_S = 10.0


def connected(address: str, port: int) -> socket.socket | None:
    """The control connection; None: nobody listens (yet)."""
    with suppress(ConnectionRefusedError):
        return socket.create_connection((address, port), _PATIENCE_S)
    return None


def ask(control: socket.socket) -> None:
    """Ask for a UDP test without an end; afterwards the server opens its socket, for one flow.

    Raises OversprayError where it does not answer as iperf3 does, OSError where it does not at all.
    """
    control.sendall(COOKIE)
    _await(control, PARAM_EXCHANGE)
    _send(control, _ENDLESS_UDP)
    _await(control, CREATE_STREAMS)


def end(control: socket.socket) -> dict[str, Any]:
    """End a test that has begun: what the server says of it (``streams``: ``bytes`` and others)."""
    _await(control, TEST_START)
    _await(control, TEST_RUNNING)
    control.sendall(bytes([TEST_END]))
    _await(control, EXCHANGE_RESULTS)
    _send(control, _RESULTS)
    (length,) = struct.unpack(">I", _exactly(control, 4))
    found: dict[str, Any] = json.loads(_exactly(control, length))
    _await(control, DISPLAY_RESULTS)
    control.sendall(bytes([IPERF_DONE]))
    return found


def _send(control: socket.socket, what: object) -> None:
    text = json.dumps(what).encode()
    control.sendall(struct.pack(">I", len(text)) + text)


def _await(control: socket.socket, state: int) -> None:
    (got,) = _exactly(control, 1)
    if got != state:
        raise OversprayError(f"iperf3 is in state {got}, not {state}: another version than 3.1 to 3.17?")


def _exactly(control: socket.socket, count: int) -> bytes:
    got = b""
    while len(got) < count:
        part = control.recv(count - len(got))
        if not part:
            raise OversprayError("iperf3 closed its control connection")
        got += part
    return got
