"""The model against what is known without it: conservation, queueing theory, common sense."""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from twin_costs import made_costs

from prototype.costs import reference
from prototype.model import simulate
from prototype.model_load import Load, Machine
from prototype.model_outcome import Outcome
from prototype.model_path import Setup
from steering.errors import BadInput, OversprayError

VARIANTS = (
    "native/none",
    "native/rps",
    "linux/none+gro-list",
    "docker/none",
    "docker/rps",
    "docker/rps-vxlan",
    "docker/rps-veth+gro-list",
    "flannel/local",
    "docker/pin",
    "docker/hash+gro-list",
    "docker/roundrobin",
    "docker/backlog+gro-list",
    "docker/flowcell:cell=64,local=40",
    "docker/adaptive+gro-list",
    "docker/safe+gro-list",
    "docker/elephant",
)
FOUR = Machine(cores=4)


def run(variant: str, machine: Machine = FOUR, costs: Any = None, **load: Any) -> Outcome:
    given = Load(**{"seconds": 0.02, "warmup": 0.002, **load})
    return simulate(Setup.parse(variant), machine, given, costs or reference())


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    ("machine", "load"),
    [
        (Machine(lab=True), {}),
        (FOUR, {"rate": 3e6, "flows": 3, "arrivals": "poisson", "burst": 16}),
        (Machine(cores=6, queues=2, queue=64, backlog=64), {"flows": 5, "reads": True}),
        (FOUR, {"protocol": "tcp", "payload": 1448, "flows": 2, "window": 300}),
    ],
    ids=["lab", "poisson", "reads", "tcp"],
)
def test_each_packet_is_delivered_or_dropped_by_name(
    variant: str, machine: Machine, load: dict[str, Any]
) -> None:
    outcome = run(variant, machine, **load)
    assert outcome.offered > 100
    assert outcome.delivered > 0
    assert outcome.unaccounted == 0
    assert all(sum(core.values()) <= 1.05 for core in outcome.cores.values())


def test_the_same_seed_gives_the_same_run_and_another_one_does_not() -> None:
    twice = [run("docker/backlog+gro-list", rate=2e6, arrivals="poisson") for _ in range(2)]
    other = run("docker/backlog+gro-list", rate=2e6, arrivals="poisson", seed=2)
    assert twice[0] == twice[1]
    assert twice[0].latency != other.latency


def test_a_run_may_be_stopped_anywhere() -> None:
    shares: list[float] = []
    setup, load = Setup.parse("docker/backlog"), Load(seconds=0.02, warmup=0.002)
    noted = simulate(setup, FOUR, load, reference(), shares.append)
    assert len(shares) > 10
    assert noted == run("docker/backlog")


@pytest.mark.parametrize(
    ("variant", "hashes", "moves"),
    [
        ("native/none", 0, 0),
        ("native/rps", 1, 1),
        ("linux/none", 0, 0),
        ("docker/none", 1, 0),
        ("docker/rps", 2, 1),
        ("docker/rps-vxlan", 1, 1),
        ("docker/rps-vxlan+gro-list", 1 / 10, 1),
        ("docker/rps-veth", 1, 1),
        ("docker/pin", 0, 1),
    ],
)
def test_hashes_and_memory_from_another_core_are_paid_once(
    variant: str, hashes: float, moves: float
) -> None:
    """Bursts of 10, which GRO takes as one; what the last packets owe is not paid any more."""
    nothing = made_costs()
    far = nothing.shared.model_copy(update={"cold": 500, "deep": 500})
    for costs, each in (
        (made_costs(hash=500), hashes),
        (nothing.model_copy(update={"shared": far}), moves),
    ):
        given = {"rate": 2e5, "burst": 10, "warmup": 0.0}
        outcome = run(variant, Machine(hold_us=40), costs, **given)
        found = outcome.busy_cores * 1e9 / 2e5
        assert found == pytest.approx(500 * each, rel=0.02, abs=1)


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_one_core_is_the_queue_of_the_text_books(load: float) -> None:
    """M/D/1: constant costs, Poisson arrivals, one server."""
    service = 2000.0
    costs = made_costs(nic=service / 2, stack=service / 4, socket=service / 4)
    machine = Machine(cores=1, link=400e9, ring=100_000)
    outcome = run(
        "native/none", machine, costs, rate=load / service * 1e9, arrivals="poisson", seconds=0.8
    )
    expected = service * (1 + load / (2 * (1 - load)))
    assert outcome.latency["mean"] == pytest.approx(expected, rel=0.04)
    assert outcome.cores[0]["softirq"] == pytest.approx(load, rel=0.02)


def test_costs_that_vary_make_longer_queues_as_pollaczek_and_khinchine_say() -> None:
    service, load = 2000.0, 0.7
    costs = made_costs(spread=0.8, nic=service)
    moments = costs.stages.nic.quantiles(256)
    rate = load / service
    waiting = rate * float(np.mean(moments**2)) / (2 * (1 - load))
    machine = Machine(cores=1, link=400e9, ring=100_000)
    outcome = run("native/none", machine, costs, rate=rate * 1e9, arrivals="poisson", seconds=0.8)
    assert outcome.latency["mean"] == pytest.approx(service + waiting, rel=0.06)


def test_more_cores_deliver_more_until_the_nic_core_is_full() -> None:
    rates = [
        run("docker/backlog+gro-list", Machine(cores=cores)).rate_pps for cores in (2, 3, 5, 9, 17)
    ]
    assert all(later >= 0.99 * earlier for earlier, later in itertools.pairwise(rates))
    assert rates[2] > 1.5 * rates[0]
    assert rates[-1] < 1.1 * rates[-2]


def test_gro_gathers_no_more_than_a_poll_or_its_limit() -> None:
    for variant in ("docker/none+gro-list", "docker/backlog+gro-list"):
        assert 2 < run(variant).gathered["skb"] <= 64
    assert run("docker/none").gathered["skb"] == 1


def test_dearer_stages_never_deliver_more() -> None:
    lab = Machine(lab=True)
    cheap = run("docker/none", lab).rate_pps
    for stage in ("nic", "skb", "outer", "bridge", "stack", "socket"):
        assert run("docker/none", lab, reference().scaled({stage: 1.5})).rate_pps < cheap


def test_one_flow_stays_in_order_where_a_policy_promises_it() -> None:
    for variant in ("docker/pin", "docker/hash", "docker/safe+gro-list", "docker/rps"):
        assert run(variant, rate=6e5).order["reordered"] == 0
    assert run("docker/roundrobin", rate=1.5e6).order["reordered"] > 0.05


def test_a_full_queue_is_where_packets_are_lost() -> None:
    small = run("docker/pin", Machine(cores=2, queue=100))
    assert set(small.drops) == {"nic", "worker"}
    assert run("docker/rps").drops.keys() >= {"nic"}
    assert "udp" in run("docker/local", reads=True, costs=reference().scaled({"read": 30})).drops


def test_a_link_is_no_faster_than_it_says() -> None:
    costs = made_costs(nic=1)
    outcome = run("native/none", Machine(cores=1, link=10e9), costs, payload=1400)
    assert outcome.goodput_bps == pytest.approx(10e9 * 1400 / (1400 + 42 + 24), rel=0.01)


def test_memory_that_all_share_slows_all() -> None:
    costs = reference()
    narrow = costs.model_copy(update={"shared": costs.shared.model_copy(update={"memory": 1e9})})
    load = {"payload": 1400, "flows": 8}
    machine = Machine(cores=8, queues=4)
    assert run("docker/none", machine, narrow, **load).rate_pps < 0.97 * (
        run("docker/none", machine, costs, **load).rate_pps
    )


@pytest.mark.parametrize(
    "made",
    [
        lambda: Machine(cores=0),
        lambda: Machine(cores=129),
        lambda: Machine(cores=4, queues=5),
        lambda: Machine(cores=4, workers=(4,)),
        lambda: Load(flows=0),
        lambda: Load(payload=0),
        lambda: Load(rate=-1),
        lambda: Load(seconds=0),
        lambda: Setup.parse("docker/nonesuch"),
        lambda: Setup.parse("native/rps-veth"),
        lambda: Setup.parse("docker/none+nonesuch"),
        lambda: Setup.parse("nowhere/none"),
        lambda: replace(Machine(), batch=0),
    ],
)
def test_what_makes_no_sense_is_said_in_one_line(made: Any) -> None:
    with pytest.raises(BadInput) as error:
        made()
    assert "\n" not in str(error.value)


def test_a_policy_that_breaks_its_contract_is_named(tmp_path: Any) -> None:
    from made_policy import made_policy

    broken = made_policy(tmp_path / "made", "return 1 / (packet->flow);")
    setup = replace(Setup.parse("docker/pin"), policy=broken)
    with pytest.raises(OversprayError, match="contract"):
        simulate(setup, FOUR, Load(seconds=0.01), reference())


def test_slots_that_do_not_exist_take_the_stock_path(tmp_path: Any) -> None:
    from made_policy import made_policy

    wild = made_policy(tmp_path / "made", "return 77;")
    setup = replace(Setup.parse("docker/pin"), policy=wild)
    outcome = simulate(setup, FOUR, Load(seconds=0.01, rate=1e5), reference())
    assert outcome.refused > 0
    assert outcome.delivered == outcome.offered
