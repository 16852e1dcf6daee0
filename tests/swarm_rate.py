"""How much of what a policy delivers in the lab's `docker` case it delivers on a real Docker overlay.

    PYTHONPATH=.:tests .venv/bin/python tests/swarm_rate.py FILE.json [POLICY]

The same wire, at full rate, sends to one container of each, in turn; both are attached to as `overspray
attach` does. Needs `dockerd`; takes about a minute.
"""

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pyroute2 import IPRoute
from swarm import WIRE, Engine, swarm
from swarm import Container as Real

from bench import lab as labs
from bench.fingerprint import fingerprint
from bench.lab import Lab
from bench.lab_plan import Container, Plan
from bench.sink import SHARE, Sink
from bench.statistics import interval
from bench.traffic import Traffic
from bench.wire import Wire
from steering import discover, netns
from steering.attach import Attachment, How
from steering.choice import Choice

POLICY, ROUNDS, SECONDS, WARM_UP = "backlog:cell=64,limit=192+gro-list", 11, 0.5, 0.2


@dataclass(frozen=True)
class Found(Plan):
    """What is really there, as the wire wants to know it."""

    real: tuple[Container, ...] = ()

    @property
    def containers(self) -> tuple[Container, ...]:
        return self.real


def link(ns: str, device: str) -> tuple[int, str]:
    """ifindex and MAC address."""
    with netns.entered(ns), IPRoute() as ip:
        [found] = ip.get_links(netns.index(device))
        return found["index"], found.get("address")


def found(here: Engine, there: Engine, to: Real, by: Real) -> Lab:
    """The container ``to`` behind here's NIC, and ``by`` behind the other's, as a lab."""
    with netns.entered(here.ns):
        [overlay] = [
            each
            for each in discover.discover().overlays
            if any(port.peer and port.peer.mac == to.mac for port in each.ports)
        ]
    (wire, wire_mac), (nic, nic_mac) = link(there.ns, WIRE), link(here.ns, WIRE)
    plan = Found(
        "docker", wire=WIRE, wire_mac=wire_mac, nic=WIRE, nic_mac=nic_mac, vni=overlay.vni, port=overlay.port,
        peer_mac=by.mac, inner_mtu=1450, real=(Container("c0", to.mac, to.address, "-"),),
    )  # fmt: skip
    for name, address in (("wire_ip", there.address), ("nic_ip", here.address), ("peer_ip", by.address)):
        object.__setattr__(plan, name, address)
    return Lab(plan, {"wire": there.ns, "host": here.ns, "c0": to.ns}, wire, nic, ())


def rate(lab: Lab, choice: Choice, wire: Wire, sink: Sink, run: int) -> float:
    """Packets a second that reach the socket, and that none of ours was lost or left to the stock path."""
    with netns.entered(lab.host_ns), Attachment(lab.plan.nic, choice, How(lab.plan.vni, bypass=True)) as ours:
        wire.begin(run)
        sink.begin(run)
        with wire.running():
            time.sleep(WARM_UP)
            before, begun = sink.delivered, time.monotonic()
            time.sleep(SECONDS)
            taken = (sink.delivered - before) / (time.monotonic() - begun)
        totals = ours.datapath.totals()
    if totals.delivered < 0.99 * totals.steer["seen"]:
        raise SystemExit(f"not all was ours: {totals}")
    return taken


def main(file: str, policy: str) -> None:
    """Rounds of both, one after the other, in an order that changes; medians of their ratios."""
    choice, rates = Choice.parse(policy), []
    with swarm() as (here, there), labs.lab("docker") as lab:
        real = found(here, there, here.start("c0"), there.start("s0"))
        with (
            Wire(lab, Traffic()) as lab_wire, Sink(lab, SHARE) as lab_sink,
            Wire(real, Traffic()) as real_wire, Sink(real, SHARE) as real_sink,
        ):  # fmt: skip
            sides = {"lab": (lab, lab_wire, lab_sink), "docker": (real, real_wire, real_sink)}
            for number in range(ROUNDS):
                names = [*sides] if number % 2 else [*reversed(sides)]
                one: dict[str, float] = {}
                for name in names:
                    where, wire, sink = sides[name]
                    one[name] = rate(where, choice, wire, sink, 2 * number + 1 + (name == "lab"))
                rates.append(one)
                print({name: round(value / 1e6, 3) for name, value in one.items()}, file=sys.stderr)
    ratio = interval([each["docker"] / each["lab"] for each in rates])
    told: dict[str, Any] = {
        "command": f"python tests/swarm_rate.py {Path(file).name} {policy}",
        "policy": policy,
        "docker_over_lab": {"median": ratio.median, "low": ratio.low, "high": ratio.high},
        "lab_pps": float(np.median([each["lab"] for each in rates])),
        "docker_pps": float(np.median([each["docker"] for each in rates])),
        "rounds": rates,
        "host": fingerprint(),
    }
    Path(file).write_text(json.dumps(told, indent=2) + "\n")
    shown = {name: value for name, value in told.items() if name not in ("host", "rounds")}
    print(json.dumps(shown, indent=2))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("file", help="where to write what was measured")
    parser.add_argument("policy", nargs="?", default=POLICY, help=f"what is attached; {POLICY}")
    options = parser.parse_args()
    main(options.file, options.policy)
