"""The model and plain SimPy models of the same machines say the same."""

from dataclasses import replace
from statistics import mean

import numpy as np
import pytest
from simpy_machine import Tally
from simpy_path import simulate as in_simpy
from simpy_rps import simulate as rps_in_simpy
from twin_costs import made_costs, uneven_costs

from prototype.costs import reference
from prototype.model import simulate
from prototype.model_load import Load, Machine
from prototype.model_outcome import Outcome
from prototype.model_path import Setup

NIC, STACK, PACKETS = 1000.0, 1500.0, 40_000
COUNTED = ("irqs", "softirqs", "polls", "bulks", "wakeups", "switches")

TWENTY = Machine(cores=20)
SMALL = Machine(cores=2, ring=256, queue=64)
MODERATED = Machine(cores=4, hold_us=20, frames=32)
POINTS = [
    ("docker/backlog+gro-list", TWENTY, Load(payload=1400, seconds=8e-4, warmup=0)),
    ("docker/roundrobin", TWENTY, Load(rate=3e6, seconds=2e-3, warmup=0)),
    ("docker/roundrobin", Machine(cores=3), Load(rate=8e5, seconds=6e-3, warmup=0, reads=True)),
    ("docker/backlog", MODERATED, Load(rate=1e6, burst=16, seconds=5e-3, warmup=0)),
    ("docker/hash+gro-list", MODERATED, Load(rate=4e5, seconds=6e-3, warmup=0, reads=True)),
    ("docker/pin", SMALL, Load(rate=6e6, seconds=1e-3, warmup=0)),
    ("docker/backlog+gro-list", SMALL, Load(rate=1.6e6, seconds=4e-3, warmup=0, reads=True)),
]
NAMES = ("nic_ring_full", "worker_queue_full", "udp_socket_full")


def lost(outcome: Outcome) -> dict[str, int]:
    return {f"{at}_{why}": n for at, of in outcome.drops.items() for why, n in of.items()}


def shares(tally: Tally, load: Load) -> dict[tuple[int, str], float]:
    return {at: ns / load.seconds / 1e9 for at, ns in tally.busy.items()}


def busy(outcome: Outcome) -> dict[tuple[int, str], float]:
    return {(n, kind): x for n, core in outcome.cores.items() for kind, x in core.items()}


@pytest.mark.parametrize(("variant", "machine", "load"), POINTS)
def test_with_constant_costs_both_count_the_same(
    variant: str, machine: Machine, load: Load
) -> None:
    setup, costs = Setup.parse(variant), uneven_costs()
    plain, outcome = in_simpy(setup, machine, load, costs), simulate(setup, machine, load, costs)
    assert (outcome.offered, outcome.delivered) == (plain.offered, plain.delivered)
    assert outcome.in_time == plain.in_time
    assert lost(outcome) == dict(plain.lost)
    received = plain.offered - plain.lost["nic_ring_full"]
    counted = {name: round(outcome.per_packet[name] * received) for name in COUNTED}
    assert counted == {name: plain.did[name] for name in COUNTED}
    assert round(outcome.order["reordered"] * plain.delivered) == plain.reordered
    assert busy(outcome) == pytest.approx(shares(plain, load), rel=1e-6)
    assert outcome.latency["mean"] == pytest.approx(float(np.mean(plain.latency)), rel=0.01)


def test_the_points_are_of_every_kind() -> None:
    """Or equality would say little."""
    found = [simulate(Setup.parse(v), m, load, uneven_costs()) for v, m, load in POINTS]
    assert {name for outcome in found for name in lost(outcome)} == set(NAMES)
    assert sum(outcome.order["reordered"] > 0.1 for outcome in found) >= 3
    assert any(outcome.loss == 0 for outcome in found)


@pytest.mark.parametrize("rate", [3e5, 2e6, 6e6], ids=lambda rate: f"{rate / 1e6}-Mpps")
@pytest.mark.parametrize("variant", ["docker/roundrobin", "docker/backlog+gro-list"])
def test_with_random_costs_and_arrivals_both_say_the_same(variant: str, rate: float) -> None:
    """Of so short runs a cell of 64 makes one percent: means of several, the model's of more."""
    setup, machine = Setup.parse(variant), Machine(cores=6)
    load = Load(rate=rate, arrivals="poisson", seconds=4000 / rate, warmup=0)
    loads = [replace(load, seed=seed) for seed in range(1, 21)]
    tallies = [in_simpy(setup, machine, each, reference()) for each in loads[:3]]
    outcomes = [simulate(setup, machine, each, reference()) for each in loads]
    for name in NAMES:
        share = mean(lost(o).get(name, 0) / o.offered for o in outcomes)
        assert share == pytest.approx(mean(t.lost[name] / t.offered for t in tallies), abs=0.03)
    reordered = mean(t.reordered / t.delivered for t in tallies)
    assert mean(o.order["reordered"] for o in outcomes) == pytest.approx(reordered, abs=0.08)
    for at in busy(outcomes[0]):
        share = mean(shares(t, load).get(at, 0) for t in tallies)
        assert mean(busy(o).get(at, 0) for o in outcomes) == pytest.approx(share, abs=0.06), at
    for name in COUNTED:
        each = mean(t.did[name] / (t.offered - t.lost["nic_ring_full"]) for t in tallies)
        found = mean(o.per_packet[name] for o in outcomes)
        assert found == pytest.approx(each, rel=0.1, abs=0.003), name
    latency = mean(float(np.mean(t.latency)) for t in tallies)
    assert mean(o.latency["mean"] for o in outcomes) == pytest.approx(latency, rel=0.15)


@pytest.mark.parametrize("rate", [3e5, 5.5e5, 8e5, 1.3e6], ids=lambda rate: f"{rate / 1e6}-Mpps")
def test_two_cores_with_rps_do_what_simpy_says(rate: float) -> None:
    plain = rps_in_simpy(rate, PACKETS, NIC, STACK, ring=256, backlog=50)
    outcome = simulate(
        Setup.parse("native/rps"),
        Machine(cores=2, link=400e9, ring=256, backlog=50),
        Load(rate=rate, arrivals="poisson", seconds=20 * PACKETS / rate, warmup=0),
        made_costs(nic=NIC, stack=STACK),
    )
    share = {name: n / outcome.offered for name, n in lost(outcome).items()}
    for name in ("ring", "backlog"):
        expected = plain.lost[name] / plain.offered
        assert share.get(f"nic_{name}_full", 0) == pytest.approx(expected, abs=0.01)
    assert outcome.latency["mean"] == pytest.approx(float(np.mean(plain.waits)), rel=0.06)
