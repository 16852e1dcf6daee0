"""The wire for TCP: live frames go on with connections that ordinary sockets opened.

It sends as fast as the receiver's windows allow. Acknowledgements are read on wire0 by an XDP
program and go no further; duplicates mean nothing to it, for what is measured is the receiver.
"""

import contextlib
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.connection import Connection
from bench.lab_plan import Lab
from bench.traffic import SINK_PORT, Traffic, port_of, talkers
from bench.wire import Offered, Wire, words
from steering import bpf
from steering.compile import Module
from steering.errors import BadInput, OversprayError
from steering.layout import header
from steering.netns import entered

_PATIENCE_NS = 4_000_000
"""Without progress for so long, it goes back: longer than any queue of a lab holds a packet."""
_NEVER = 1 << 62
_DRAIN_SECONDS = 5.0
_PPM = 1_000_000
_ETHERNET, _TUNNEL = 14, 8 + 8 + 14
_IP = {4: 20, 6: 40}


class TcpWire(Wire):
    """The TCP wire of one lab. A context manager; each :meth:`configure` opens new connections."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab)
        self._connections: list[Connection] = []
        self._reader: list[int] = []
        self._traffic = Traffic()
        self._whole = True

    def configure(
        self,
        traffic: Traffic,
        run: int,
        cores: Sequence[int] = (0,),
        owner: Sequence[int] | None = None,
        limit: int | None = None,
    ) -> None:
        """Connect to the sinks, and set up what the next start sends; see :meth:`Wire.configure`.

        Raises:
            OversprayError: a sink does not listen.
        """
        self.finish()
        self._traffic = traffic
        self._whole = True
        self._prepare_namespace()
        try:
            for index, end in talkers(self.lab, traffic):
                source, target = (end.peer_ip, port_of(index)), (end.ip, SINK_PORT)
                first = traffic.details["first"]
                made = Connection(self.lab.wire_ns, source, target, traffic.payload, first)
                self._connections.append(made)
            self._check()
            super().configure(traffic, run, cores, owner, limit)
        except BaseException:
            self._drop()
            raise

    def stop(self) -> Offered:
        """Send nothing new, what was lost again, until all has arrived; see :meth:`Wire.stop`."""
        if self._running and not self._failure and self._whole:
            self._put_settings(ending=1)
            end = time.monotonic() + _DRAIN_SECONDS
            while not (whole := self._arrived()) and time.monotonic() < end:
                time.sleep(0.0002)
            self._whole = whole
        return replace(super().stop(), whole=self._whole)

    def open_windows(self) -> None:
        """No window shuts and nothing is sent again: for a receiver that never answers."""
        layout = header("wire_tcp.h")
        for index, peer in enumerate(self._peers()):
            peer["edge"] = _NEVER
            self._now.put("tcp_peers", index, peer)
        wire = self._now.get("tcp_wire", layout.struct("tcp_wire"))
        wire["patience"] = _NEVER
        self._now.put("tcp_wire", 0, wire)
        self._whole = False

    def sent(self) -> NDArray[np.uint64]:
        """Bytes of each flow's stream that were sent so far: shape (flows,)."""
        flows = header("wire_tcp.h").struct("tcp_flow")
        most = [self._now.get("tcp_flows", flows, i)["most"] for i in range(self._traffic.flows)]
        return np.asarray(most, np.uint64)

    def finish(self) -> None:
        """The kernel ends the connections."""
        if not self._connections:
            return
        sent = self.sent()
        peers = self._peers()
        self._release()
        for connection, bytes_sent, peer in zip(self._connections, sent, peers, strict=True):
            if peer["ended"]:
                connection.drop()
            else:
                connection.give_back(int(bytes_sent), whole=self._whole)
        self._connections = []

    def close(self) -> None:
        """See :meth:`Wire.close`."""
        if self._running:
            with contextlib.suppress(OversprayError):
                super().stop()
            self._whole = False
        with contextlib.suppress(OSError):
            self.finish()
        self._drop()
        for link in self._reader:
            os.close(link)
        self._reader = []
        super().close()

    def _prepare_namespace(self) -> None:
        with entered(self.lab.wire_ns):
            sysctls = Path("/proc/sys/net/ipv4")
            (sysctls / "tcp_timestamps").write_text(str(self._traffic.details["timestamps"]))
            # The same ports at once again.
            (sysctls / "tcp_max_tw_buckets").write_text("0")

    def _check(self) -> None:
        state = self._connections[0].state
        if self._traffic.payload > state.segment:
            raise BadInput(
                f"payload {self._traffic.payload}: the connection takes segments of at most "
                f"{state.segment} bytes: a larger --mtu"
            )

    def _compiled(self, header_bytes: int) -> tuple[Module, int]:
        spec = self.lab.spec
        inner = _ETHERNET
        if spec.case != "native":
            inner += _IP[spec.outer] + _TUNNEL
        places: dict[str, str | int] = {
            "HEADER_BYTES": header_bytes,
            "INNER_AT": inner,
            "TCP_AT": inner + _IP[spec.inner],
            "TUNNEL_PORT": 0 if spec.case == "native" else self.lab.port,
        }
        module = Module("wire_tcp.bpf.c", defines=places)
        return module, module.load("wire_tcp", bpf.PROG_TYPE_XDP)

    def _dispatch(self, module: Module, program: int) -> None:
        if self._dispatched == program:
            return
        super()._dispatch(module, program)
        acks = module.load("acks", bpf.PROG_TYPE_XDP)
        for link in self._reader:
            os.close(link)
        with entered(self.lab.wire_ns):
            wire = socket.if_nametoindex(self.lab.wire)
            self._reader = [bpf.link_create(acks, wire, bpf.ATTACH_XDP, bpf.XDP_FLAGS_DRV_MODE)]

    def _put_settings(self, ending: int = 0) -> None:
        details = self._traffic.details
        layout = header("wire_tcp.h")
        settings = np.zeros((), layout.struct("tcp_wire"))
        settings["patience"], settings["epoch"] = _PATIENCE_NS, self._epoch
        settings["segment"], settings["flows"] = self._traffic.payload, self._traffic.flows
        settings["port"], settings["sink"] = port_of(0), SINK_PORT
        settings["ending"] = ending
        for name in ("lost", "doubled", "overtaken"):
            share = details[name] << layout.constants["TCP_WIRE_SHARE"]
            settings[name] = share // _PPM
        self._now.put("tcp_wire", 0, settings)

    def _put_flows(self, module: Module, order: Sequence[int], run: int) -> None:
        layout = header("wire_tcp.h")
        self._epoch = time.monotonic_ns()
        for place, index in enumerate(order):
            module.put("tcp_order", place, np.uint32(index).tobytes())
            frame, state = self._frames[index], self._connections[index].state
            tcp = bytearray(frame.data[: frame.header_bytes])
            at = frame.header_bytes - (32 if state.timestamps else 20)
            acknowledged = state.expected.to_bytes(4, "big")
            tcp[at + 8 : at + 12] = acknowledged
            flow = np.zeros((), layout.struct("tcp_flow"))
            flow["first"], flow["stamp"] = state.sequence, state.stamp
            flow["sum"] = frame.sum + int(np.frombuffer(acknowledged, np.uint16).sum(dtype=int))
            flow["words"] = words(bytes(tcp), flow["words"].size)
            module.put("tcp_flows", index, flow)
            peer = np.zeros((), layout.struct("tcp_peer"))
            peer["edge"], peer["first"] = state.window[1], state.sequence
            peer["shift"], peer["active"] = state.scale, 1
            module.put("tcp_peers", index, peer)
        self._put_settings()

    def _peers(self) -> list[NDArray[np.void]]:
        layout = header("wire_tcp.h").struct("tcp_peer")
        return [self._now.get("tcp_peers", layout, i) for i in range(self._traffic.flows)]

    def _arrived(self) -> bool:
        sent = self.sent()
        return all(
            peer["ended"] or peer["acked"] >= most
            for peer, most in zip(self._peers(), sent, strict=True)
        )

    def _release(self) -> None:
        """Acknowledgements are the stack's again."""
        nobody = np.zeros((), header("wire_tcp.h").struct("tcp_peer"))
        for index in range(self._traffic.flows):
            self._now.put("tcp_peers", index, nobody)

    def _drop(self) -> None:
        for connection in self._connections:
            connection.drop()
        self._connections = []
