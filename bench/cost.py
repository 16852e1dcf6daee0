"""What the NIC stage costs a packet, part by part: test runs of it that stop after each part.

A test run (BPF_PROG_TEST_RUN) has the frame and all maps in the cache and no other core near them:
it tells what the instructions cost, and is the same on every run. What a packet in flight costs is
more, and part of every run that the bench measures.
"""

import os
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from bench.lab_plan import Lab, LabSpec, plan
from bench.statistics import Interval, interval
from bench.traffic import Traffic, frames
from steering import bpf
from steering.errors import OversprayError
from steering.layout import header
from steering.overlay import Endpoint, HeldNamespace, Overlay, Tunnel
from steering.plan import read_plan
from steering.routes import Route, Routes
from steering.spec import Spec
from steering.trial import enter_new_namespace
from steering.unit import Unit

PARTS: Mapping[str, str] = {
    "maps": "find counters, settings and state",
    "parse": "headers outside and inside, lengths, flags, checksum, ECN",
    "classify": "hash, flow, proof of tunnel and container",
    "policy": "the decision",
    "hand-over": "strip, metadata, redirect",
}
"""The NIC stage's parts, in order."""

_STAGES = (0, 1, 2, 3, 4, 5)  # enum stage in xdp/steer.bpf.c
_REWIND = 100  # REWIND_ALONE in xdp/cost.bpf.c
_TUNNEL_BYTES = 50
# Some 100 us a test run: longer ones are likelier to be disturbed.
_REPEAT = 2000
_SECRET = 0x1122334455667788
_LOOPBACK = 1

Progress = Callable[[str, int, int], None]
"""What is being done, how many steps are done, how many there are."""


@dataclass(frozen=True)
class PolicyCost:
    """One policy's NIC stage, ns a packet."""

    policy: str
    parts: dict[str, Interval]
    """By name, see :data:`PARTS`."""
    total: Interval
    remote: float
    """Share of the packets that it handed to a worker."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        ns = {name: _as_dict(part) for name, part in self.parts.items()}
        return {
            "policy": self.policy,
            "parts": ns,
            "total": _as_dict(self.total),
            "remote": self.remote,
        }


def measure(
    specs: Sequence[Spec],
    rounds: int = 200,
    payload: int = 18,
    progress: Progress = lambda what, done, total: None,
) -> list[PolicyCost]:
    """Cost of each policy's NIC stage for one flow of VXLAN over IPv4, inner IPv4 and UDP.

    Every round times each stage of each policy once, so that what disturbs the machine disturbs
    all alike.

    Raises:
        BadInput: unknown policy or knob.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_measure, specs, rounds, payload, progress).result()


def _measure(
    specs: Sequence[Spec], rounds: int, payload: int, progress: Progress
) -> list[PolicyCost]:
    """In a thread of its own, on one core and in a namespace that goes with it."""
    why_not = enter_new_namespace()
    if why_not:
        raise OversprayError(f"cost: {why_not}: type it with sudo")
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    steps = len(specs) + rounds
    with ExitStack() as stack:
        stages = []
        for number, spec in enumerate(specs):
            progress(f"compile {spec}", number, steps)
            stages.append(stack.enter_context(closing(_Stage(spec, payload))))
        for number in range(rounds):
            progress("measure", len(specs) + number, steps)
            for stage in stages:
                stage.round()
        return [stage.result() for stage in stages]


class _Stage:
    """One policy's NIC stage, filled as when attached, for frames as the wire sends them."""

    def __init__(self, spec: Spec, payload: int) -> None:
        self.name = str(spec)
        lab = plan(LabSpec("docker"))
        self._frame = frames(lab, Traffic(payload=payload), 1)[0].data
        self._plan = read_plan(spec, [max(os.sched_getaffinity(0))])
        self._unit = Unit(self._plan, _SECRET, "cost.bpf.c")
        try:
            self._program = self._unit.module.load("cost", bpf.PROG_TYPE_XDP)
            # As the wire does: attached somewhere, or each test run first changes the dispatcher.
            self._link = bpf.link_create(
                self._program, _new_device(), bpf.ATTACH_XDP, bpf.XDP_FLAGS_SKB_MODE
            )
            self._fill(lab)
            self._workers()
        except BaseException:
            self._unit.close()
            raise
        self._times: dict[int, list[float]] = {last: [] for last in (*_STAGES, _REWIND)}

    def round(self) -> None:
        """Time each stage once."""
        for last, times in self._times.items():
            self._settings(last)
            times.append(self._time())

    def result(self) -> PolicyCost:
        """Differences of neighbouring stages, round by round."""
        times = {last: np.array(values) for last, values in self._times.items()}
        steps = [times[last] - times[last - 1] for last in _STAGES[1:]]
        # To strip and to put on again are two calls each, of the same two helpers.
        steps[-1] = steps[-1] - (times[_REWIND] - times[0]) / 2
        counts = self._unit.totals().steer
        return PolicyCost(
            self.name,
            {name: interval(step) for name, step in zip(PARTS, steps, strict=True)},
            interval(np.sum(steps, axis=0)),
            counts["remote"] / max(1, counts["remote"] + counts["local"]),
        )

    def close(self) -> None:
        """Let go of the programs."""
        os.close(self._link)
        self._unit.close()

    def _time(self) -> float:
        """ns a packet."""
        begin = time.thread_time_ns()
        bpf.prog_test_run(self._program, self._frame, repeat=_REPEAT)
        return (time.thread_time_ns() - begin) / _REPEAT

    def _settings(self, last: int) -> None:
        under = self._frame[_TUNNEL_BYTES - header("proof.h").struct("proof").itemsize :]
        proof = under[: header("proof.h").struct("proof").itemsize]
        self._unit.module.put("cost_settings", 0, struct.pack("=II", last, 0) + proof)

    def _fill(self, lab: Lab) -> None:
        here = HeldNamespace("/proc/thread-self/ns/net")
        try:
            overlay = _overlay(lab, here)
            [end] = overlay.endpoints
            route = Route("peer", device=_LOOPBACK)
            self._unit.route(overlay, cast(Routes, _Table({end: route})))
        finally:
            here.close()

    def _workers(self) -> None:
        """Workers that are never behind, so that a policy which looks finds them willing."""
        dtype = header("policy.h").struct("workers")
        table = self._unit.module.get("workers", dtype)
        table["worker"]["done"] = 1 << 40
        self._unit.module.put("workers", 0, table)


def _new_device() -> int:
    """The index of a new veth, in a namespace that holds nothing else."""
    from pyroute2 import IPRoute

    with IPRoute() as route:
        name = f"cost{len(route.get_links())}"
        route.link("add", ifname=name, kind="veth", peer={"ifname": f"{name}p"})
        return int(route.link_lookup(ifname=name)[0])


@dataclass
class _Table:
    """The part of :class:`steering.routes.Routes` that a unit reads."""

    table: dict[Endpoint, Route]
    ports: dict[int, Endpoint] = field(default_factory=dict)


def _overlay(lab: Lab, here: HeldNamespace) -> Overlay:
    """The lab's overlay as discovery would find it, without the lab."""
    [end] = lab.endpoints
    tunnel = Tunnel(
        vni=lab.spec.vni,
        port=lab.port,
        local=lab.vtep_ip,
        ns=here,
        device=lab.tunnel,
        ifindex=_LOOPBACK,
        remotes=frozenset({lab.remote_vtep_ip}),
        learning=False,
        remote_macs=frozenset(),
    )
    endpoint = Endpoint(
        vni=lab.spec.vni,
        mac=end.mac,
        host_ns=here,
        host_device=end.host_device,
        host_ifindex=_LOOPBACK,
        ns=here,
        device=end.device,
        ifindex=_LOOPBACK,
        rx_queues=1,
        ips=frozenset(),
        port=lab.port,
    )
    return Overlay(
        nic=lab.nic,
        nic_ns=here,
        nic_ifindex=_LOOPBACK,
        nic_mac=lab.nic_mac,
        local_ips=frozenset({lab.vtep_ip}),
        tunnels=frozenset({tunnel}),
        endpoints=frozenset({endpoint}),
    )


def _as_dict(found: Interval) -> dict[str, float]:
    return {"median": found.median, "low": found.low, "high": found.high}
