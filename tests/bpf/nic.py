"""The NIC stage without a NIC: compiled and filled as when attached, fed by BPF_PROG_TEST_RUN."""

import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from frames import (
    BARE_VNI,
    BOX_MAC,
    HOST_MAC,
    NIC,
    OTHER_PORT,
    OURS,
    PORT,
    THEIRS,
    VETH_MAC,
    VNI,
)
from scapy.packet import Packet

from steering import bpf
from steering.compile import counter_names
from steering.layout import header
from steering.overlay import Endpoint, HeldNamespace, Overlay, Tunnel
from steering.plan import read_plan
from steering.routes import Route
from steering.spec import Spec
from steering.unit import Unit

WITNESS = f"@{Path(__file__).parent / 'policies/witness'}"
"""A policy that returns any slot on demand, and keeps what it was told."""

ABORTED, DROP, PASS, REDIRECT = 0, 1, 2, 4
_NOBODY = 1 << 31
SECRET = 0x1122334455667788
VETH_PORT, LOOPBACK = 3, 1
WORKERS = 3
PROOF = header("proof.h").struct("proof")
COUNTERS = counter_names("steer_counter")
_COUNTS = np.dtype([("count", "<u8", (len(COUNTERS),))])
_WORKERS = header("policy.h").struct("workers")
_WITNESS = np.dtype(
    [("packet", header("policy.h").struct("packet")), ("seen", "<u4"), ("pad", "<u4")]
)
_ZERO = struct.pack("=I", 0)


@dataclass(frozen=True)
class Run:
    """What became of a frame: `counted` are the counters that went up, each by how much."""

    verdict: int
    counted: dict[str, int]
    frame: bytes
    proof: np.void | None


@contextmanager
def on_one_core() -> Iterator[None]:
    """Always the same one: what a policy remembers is each core's own."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Nic:
    """One policy's NIC stage with three tunnels, two of them with containers."""

    def __init__(self, text: str) -> None:
        spec = Spec.parse(text)
        self.unit = Unit(read_plan(spec, [min(os.sched_getaffinity(0))]), SECRET)
        self.ns = HeldNamespace("/proc/thread-self/ns/net")
        self.fixed: set[tuple[str, str]] = set()
        """Inner senders, each with the VTEP it is fixed behind."""
        self.unit.module.put("devmap", VETH_PORT, struct.pack("=II", LOOPBACK, 0))
        self._counters = self.unit.module.fd("steer_counters")
        if b"napi_poll" in self.unit.module._bcc.raw_tracepoint_fds:
            # What this host receives meanwhile would tell of pressure.
            self.unit.module._bcc.detach_raw_tracepoint(b"napi_poll")
        self.reset()

    def close(self) -> None:
        self.unit.close()
        self.ns.close()

    def reset(self) -> None:
        """All tunnels, all containers, idle workers, no pressure."""
        self.set_workers()
        self.press(0)
        self.route()
        self._before = self._counts()

    def forget_flows(self) -> None:
        """No flow is known."""
        nothing = bytes(bpf.map_info(self.unit.module.fd("flows")).value_size)
        for index in range(header("maps.h").constants["MAX_FLOWS"]):
            self.unit.module.put("flows", index, nothing)

    def endpoint(self, vni: int, mac: str) -> Endpoint:
        return Endpoint(
            vni, mac, self.ns, "veth0", 1, self.ns, "eth0", 1, 1, frozenset(), port=PORT
        )

    @property
    def routes(self) -> dict[Endpoint, Route]:
        """One container for each delivery."""
        return {
            self.endpoint(VNI, BOX_MAC): Route("peer", device=7, next=8),
            self.endpoint(VNI, VETH_MAC): Route("veth", port=VETH_PORT, number=1),
            self.endpoint(BARE_VNI, HOST_MAC): Route("ingress", device=9, number=2),
        }

    def tunnel(self, vni: int, port: int, version: int) -> Tunnel:
        return Tunnel(
            vni=vni,
            port=port,
            local=OURS[version],
            ns=self.ns,
            device=f"vxlan{vni}",
            ifindex=5,
            remotes=frozenset({THEIRS[version]}),
            learning=False,
            remote_macs=frozenset(),
            fixed_macs=frozenset(self.fixed),
            zero_checksum6=vni == BARE_VNI,
        )

    @property
    def tunnels(self) -> set[Tunnel]:
        """Each over both IP versions; one of them has no containers."""
        kinds = ((VNI, PORT), (BARE_VNI, PORT), (VNI, OTHER_PORT))
        return {self.tunnel(*kind, version) for kind in kinds for version in (4, 6)}

    def route(
        self,
        routes: dict[Endpoint, Route] | None = None,
        tunnels: Iterable[Tunnel] | None = None,
    ) -> None:
        """Fill the maps, as after a change of the overlay; all there is unless said otherwise."""
        table = self.routes if routes is None else routes
        overlay = self.overlay(table, self.tunnels if tunnels is None else tunnels)
        self.unit.route(overlay, SimpleNamespace(table=table, ports={}))

    def overlay(self, routes: Iterable[Endpoint], tunnels: Iterable[Tunnel]) -> Overlay:
        return Overlay(
            nic="nic0",
            nic_ns=self.ns,
            nic_ifindex=2,
            nic_mac=NIC,
            local_ips=frozenset(OURS.values()),
            tunnels=frozenset(tunnels),
            endpoints=frozenset(routes),
        )

    def set_workers(self, count: int = WORKERS, backlogs: Iterable[tuple[int, int, int]] = ()):
        """That many workers (all on one core); `backlogs` are (sent, lost, done) of each."""
        table = np.zeros((), _WORKERS)
        table["count"] = count
        table["worker"]["core"] = self.unit.plan.cores[0]
        table["worker"]["thread"] = _NOBODY  # 0 would be the idle one
        for worker, (sent, lost, done) in zip(table["worker"], backlogs, strict=False):
            worker["sent"], worker["lost"], worker["done"] = sent, lost, done
        self.unit.module.put("workers", 0, table)

    def press(self, level: int) -> None:
        """What the ends of receive polls have told, on every core."""
        raw = np.full(bpf.possible_cpus(), level, "<u8").tobytes()
        bpf.map_update(self.unit.module.fd("pressure"), _ZERO, raw)

    def set_knobs(self, **knobs: int) -> None:
        self.unit.set_knobs(knobs)

    def run(self, frame: Packet | bytes) -> Run:
        """Receive one frame."""
        with on_one_core():
            done = bpf.prog_test_run(self.unit.program, bytes(frame))
        now = self._counts()
        grown, self._before = now - self._before, now
        counted = {COUNTERS[index]: int(grown[index]) for index in np.flatnonzero(grown)}
        stripped = "local" in counted or "remote" in counted
        # What comes back starts with the metadata, where the program has made some.
        proof = np.frombuffer(done.data, PROOF, 1)[0] if stripped else None
        data = done.data[PROOF.itemsize :] if stripped else done.data
        return Run(done.retval, counted, data, proof)

    def slots(self, frames: Iterable[Packet | bytes]) -> list[int | str]:
        """The slot of each frame, or the name of the counter under which it was not stripped."""
        return [self._slot(bytes(frame)) for frame in frames]

    def witnessed(self) -> tuple[np.void, int]:
        """What the policy `witness` was told last: the packet, and how many its flow has had."""
        cores = bpf.map_lookup(self.unit.module.fd("cores"), _ZERO, _WITNESS, per_core=True)
        latest = cores[np.argmax(cores["packet"]["now"])]
        return latest["packet"], int(latest["seen"])

    def _slot(self, frame: bytes) -> int | str:
        before = self._sent()
        counted = self.run(frame).counted
        [name] = counted.keys() - {"seen"}
        if name == "remote":
            [slot] = np.flatnonzero(self._sent() - before) + 1
            return int(slot)
        return 0 if name == "local" else name

    def _sent(self) -> np.ndarray:
        return self.unit.module.get("workers", _WORKERS)["worker"]["sent"].copy()

    def _counts(self) -> np.ndarray:
        return bpf.map_lookup(self._counters, _ZERO, _COUNTS, per_core=True)["count"].sum(axis=0)
