"""Traffic ``iperf3``: the real client on the peer's side, its real server as the application.

What they say of themselves (``--json``) is what counts. The client runs on the NIC's core, where
the wire would be, and sends large packets that are cut on the last device of its host; with loss on
the wire, segments from the start, so that it is segments that get lost.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.lab_plan import Endpoint, Lab
from bench.sinks import Received, Unseen, Window, allowed
from bench.traffic import SINK_PORT, Traffic, talkers
from bench.wire import Offered, Wire
from steering import bpf, ethtool
from steering.compile import Module
from steering.errors import OversprayError
from steering.layout import header
from steering.netns import entered

_LISTEN_SECONDS, _END_SECONDS = 5.0, 10.0
_ESTABLISHED, _LISTENING = "01", "0A"
"""States of a socket in /proc/net/tcp."""
_UNTIL_STOPPED = "3600"
"""Seconds: it takes whole ones only."""
_EVENTS = {
    "TCPDSACKRecv": "dsacks",
    "TCPDSACKRecvSegs": "spurious",
    "TCPSACKReorder": "reorderings",
    "TCPLossProbes": "probes",
}
"""What the sender's TCP tells (netstat(8)), under our names."""


class IperfClient(Wire):
    """The clients of one lab, one for each flow. A context manager, used as any wire."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab)
        self._traffic = Traffic()
        self._clients: list[subprocess.Popen[str]] = []
        self._lossy: tuple[Module, int] | None = None
        self._before = Counter[str]()

    def configure(
        self,
        traffic: Traffic,
        run: int,
        cores: Sequence[int] = (0,),
        owner: Sequence[int] | None = None,
        limit: int | None = None,
    ) -> None:
        """See :meth:`Wire.configure`; the client itself chooses what it sends, and how fast."""
        self._traffic, self._cores = traffic, list(cores)
        share = traffic.details["lost"]
        # Cut by TCP itself, or as late as possible: the cheapest that can be had.
        self._offload(cut_late=not share)
        self._lose(share, traffic.seed)
        self._before = self._counted()

    def start(self, seconds: float = 1.0) -> None:
        """Start the clients; see :meth:`Wire.start`."""
        with _on(self._cores[0]), entered(self.lab.wire_ns):
            for index, end in talkers(self.lab, self._traffic):
                port = str(SINK_PORT + index)
                told = ["-c", end.ip, "-p", port, "-t", _UNTIL_STOPPED, "--json"]
                told += _kind(self._traffic)
                self._clients.append(_started(told))
        self.threads = [one.pid for one in self._clients]
        self._wait_for_streams()

    def stop(self) -> Offered:
        """Tell the clients to end, and wait; see :meth:`Wire.stop`."""
        said = []
        for one in self._clients:
            one.send_signal(signal.SIGINT)  # it says what it has done so far
        for one in self._clients:
            try:
                said.append(_said(one.communicate(timeout=_END_SECONDS)[0]))
            except subprocess.TimeoutExpired:
                one.kill()
                one.wait()
                raise OversprayError("iperf3's client did not end: the flow stands still") from None
        self._clients = []
        sums = [one["end"]["sum_sent"] for one in said]
        counts = dict(self._counted() - self._before)
        took = max(float(one["seconds"]) for one in sums)
        if self._traffic.details["udp"]:
            return Offered(sum(int(one["packets"]) for one in sums), 0, 0, {}, took=took)
        counts["resent"] = sum(int(one["retransmits"]) for one in sums)
        counts["cwnd"] = max(int(_stream(one)["sender"]["max_snd_cwnd"]) for one in said)
        counts["lost"] = self._lost()
        return Offered(0, 0, 0, counts, took=took)

    def offered(self) -> Offered:
        """Nothing is known before the end."""
        return Offered(0, 0, 0, {})

    def spun(self) -> dict[int, int]:
        """A real client does not spin."""
        return {}

    def close(self) -> None:
        """See :meth:`Wire.close`."""
        for one in self._clients:
            one.kill()
            one.wait()
        self._clients = []
        self._lose(0, 1)
        super().close()

    def _wait_for_streams(self) -> None:
        """Until they send: a client that is told to end before has nothing to tell."""
        wanted = 1 if self._traffic.details["udp"] else 2  # to control it, and the data
        deadline = time.monotonic() + _LISTEN_SECONDS
        for (index, end), one in zip(talkers(self.lab, self._traffic), self._clients, strict=True):
            to = (2, f":{SINK_PORT + index:04X}", _ESTABLISHED)
            while _sockets(self.lab.wire_ns, ":" in end.ip, *to) < wanted:
                if one.poll() is not None or time.monotonic() > deadline:
                    return  # what it says in the end is the reason
                time.sleep(0.002)

    def _counted(self) -> Counter[str]:
        with entered(self.lab.wire_ns):
            lines = Path("/proc/thread-self/net/netstat").read_text().splitlines()
        found = Counter[str]()
        for names, values in zip(lines[::2], lines[1::2], strict=True):
            pairs = zip(names.split()[1:], values.split()[1:], strict=True)
            found.update({_EVENTS[name]: int(value) for name, value in pairs if name in _EVENTS})
        return found

    def _offload(self, *, cut_late: bool) -> None:
        with entered(self.lab.wire_ns):
            for device in self._devices():
                ethtool.set_features(device, {"tx-generic-segmentation": cut_late})

    def _devices(self) -> tuple[str, ...]:
        tunnel = (self.lab.tunnel,) if self.lab.tunnel_ns else ()
        return *tunnel, self.lab.wire

    def _lose(self, share: int, seed: int) -> None:
        """Lose so many of a million frames behind the sender's last device (xdp/lossy.bpf.c)."""
        if self._lossy is not None:
            module, link = self._lossy
            os.close(link)
            module.close()
            self._lossy = None
        if not share:
            return
        module = Module("lossy.bpf.c")
        settings = np.zeros((), header("wire_tcp.h").struct("lossy"))
        settings["share"], settings["random"] = share * (1 << 32) // 1_000_000, seed | 1
        module.put("lossy", 0, settings)
        program = module.load("lose", bpf.PROG_TYPE_SCHED_CLS)
        with entered(self.lab.wire_ns):
            index = socket.if_nametoindex(self.lab.wire)
            self._lossy = module, bpf.link_create(program, index, bpf.ATTACH_TCX_EGRESS)

    def _lost(self) -> int:
        if self._lossy is None:
            return 0
        state = self._lossy[0].get("lossy", header("wire_tcp.h").struct("lossy"))
        return int(state["lost"])


class IperfServer(Unseen):
    """A server for each flow; see :class:`bench.sinks.Sink`."""

    def __init__(self, lab: Lab, traffic: Traffic, core: int) -> None:
        self._traffic, self._core = traffic, core
        self._ends = talkers(lab, traffic)
        self._servers: list[subprocess.Popen[str]] = []
        self._received: Received | None = None

    @property
    def threads(self) -> list[int]:
        """Kernel thread ids of the application."""
        return [one.pid for one in self._servers]

    def configure(self, run: int, window: Window) -> None:
        """Servers for one connection each."""
        self.close()
        self._received = None
        for index, end in self._ends:
            with _on(self._core), entered(end.netns):
                told = ["-s", "-1", "-B", end.ip, "-p", str(SINK_PORT + index), "--json"]
                self._servers.append(_started(told))
        self._wait_for_sockets()

    def counts(self) -> Received:
        """What they say in the end, which is waited for; see :class:`bench.sinks.Sink`."""
        if self._received is None and self._servers:
            said = [_said(one.communicate(timeout=_END_SECONDS)[0]) for one in self._servers]
            self._received = _received(said, self._traffic)
        return self._received or Received(0, 0, 0, 0)

    def close(self) -> None:
        """End the servers."""
        for one in self._servers:
            if one.poll() is None:
                one.kill()
            one.communicate()
        self._servers = []

    def _wait_for_sockets(self) -> None:
        deadline = time.monotonic() + _LISTEN_SECONDS
        for (index, end), one in zip(self._ends, self._servers, strict=True):
            while not _listens(end, SINK_PORT + index):
                if one.poll() is not None or time.monotonic() > deadline:
                    raise OversprayError(f"iperf3's server does not listen on {end.ip}")
                time.sleep(0.005)


def _kind(traffic: Traffic) -> list[str]:
    """What the client is told to send."""
    length, size = traffic.details["length"], str(traffic.payload)
    if traffic.details["udp"]:
        return ["-u", "-b", "0", "--length", size]
    return ["--set-mss", size, *(["--length", str(length)] if length else [])]


def _received(said: Sequence[Mapping[str, Any]], traffic: Traffic) -> Received:
    """What the servers say: whole datagrams, or segments' worth of bytes."""
    if traffic.details["udp"]:
        sums = [one["end"]["sum"] for one in said]
        packets = sum(int(one["packets"]) - int(one["lost_packets"]) for one in sums)
        return Received(packets, packets * traffic.payload, 0, 0)
    read = sum(int(one["end"]["sum_received"]["bytes"]) for one in said)
    return Received(read // traffic.payload, read, 0, 0, {"servers": len(said)})


@contextlib.contextmanager
def _on(core: int) -> Any:
    """A child starts on the cores of the thread that makes it."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, allowed(core))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _started(told: list[str]) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
            ["iperf3", *told],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
    except FileNotFoundError:
        raise OversprayError("iperf3 is not installed: type 'make setup'") from None


def _said(text: str) -> Mapping[str, Any]:
    try:
        said: Mapping[str, Any] = json.loads(text)
    except json.JSONDecodeError:
        raise OversprayError("iperf3 ended without a word: is the container reachable?") from None
    if "sum_sent" not in said.get("end", {}):
        raise OversprayError(f"iperf3: {said.get('error', 'no result')}")
    return said


def _stream(said: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = said["end"]["streams"][0]
    return found


def _listens(end: Endpoint, port: int) -> bool:
    return _sockets(end.netns, ":" in end.ip, 1, f":{port:04X}", _LISTENING) > 0


def _sockets(ns: str, ipv6: bool, column: int, port: str, state: str) -> int:
    """TCP sockets in that state, with that port at their own end (column 1) or the other (2)."""
    with entered(ns):
        name = "tcp6" if ipv6 else "tcp"
        lines = Path(f"/proc/thread-self/net/{name}").read_text().splitlines()[1:]
    rows = (line.split() for line in lines)
    return sum(row[column].endswith(port) and row[3] == state for row in rows)
