"""The harness itself, on made-up runs: false alarms, planted differences, verdicts, resuming."""

import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from samples import sample

from bench import runner as runners
from bench.cli_ab import _interleaved
from bench.experiment import Limits, Placement, Point, parse
from bench.results import Results
from bench.run import Load, Place
from bench.runner import LabRunner, Runner, Timing, conduct
from bench.sample import Sample
from bench.summary import compared
from bench.variant import Variant
from steering.errors import BadInput, OversprayError
from steering.spec import Spec

NONE, LOCAL = Variant.parse("docker/none"), Variant.parse("docker/local")
EXPERIMENT = """
name = "small"
title = "A small one"
question = "?"
rounds = 3
seconds = 0.01
baselines = ["none"]
matrix.rate = ["max"]
groups = [{cases = ["docker"], variants = ["none", "local", "rps:mask=2"]}]
"""
CORES = Placement(nic=0, workers=(1,), app=1)


class Host:
    """Stands for the kernel: delivers what it is told to, with noise, and remembers its runs."""

    def __init__(self, noise: float = 0.0, seed: int = 1, **changes: Any) -> None:
        self.gain: dict[str, float] = {}
        self.changes: dict[str, dict[str, Any]] = {}
        self.failing: dict[str, Exception] = {}
        self.runs: list[tuple[str, int | None, int]] = []
        self.interrupt_after = 10**9
        self._noise, self._random = noise, random.Random(seed)
        self._common = changes

    def run(self, bed: object, variant: Variant, load: Load, place: Place) -> Sample:
        name = str(variant)
        if len(self.runs) == self.interrupt_after:
            raise KeyboardInterrupt
        self.runs.append((name, load.traffic.rate, load.traffic.seed))
        if name in self.failing:
            raise self.failing[name]
        drift = 1 + 0.1 * len(self.runs) / 40
        noise = self._random.lognormvariate(0, self._noise)
        delivered = round(1_000_000 * self.gain.get(name, 1.0) * drift * noise)
        fields: dict[str, Any] = {"delivered": delivered, "offered": delivered, "drops": {}}
        fields |= {"delivered_bytes": delivered * 18, "variant": name, "seed": load.traffic.seed}
        fields |= {"point": place.point, "round": place.round, "position": place.position}
        return sample(**fields | self._common | self.changes.get(name, {}))


@pytest.fixture
def make_runner(monkeypatch: pytest.MonkeyPatch) -> Callable[[Host], Runner]:
    def make(host: Host) -> Runner:
        monkeypatch.setattr(runners, "run", host.run)
        bed: Any = SimpleNamespace(placement=CORES, put_beside=lambda spec: None)
        return LabRunner(bed, Timing(0.01, 0.0), Limits(), lambda text: None)

    return make


def point(a: Variant, b: Variant, rate: int | str = "max") -> Point:
    return Point(Spec("udp"), 18, 1, rate, Spec("constant"), Spec("count"), (a, b))


def ab(runner: Runner, a: Variant, b: Variant, rounds: int = 10, seed: int = 1) -> dict[str, Any]:
    runs = _interleaved(runner, point(a, b), rounds, seed, lambda: None)
    return compared(*runs, limits=Limits())


# Over 8000 comparisons of 10 rounds the harness calls equal variants different in 0.0 %, 1.8 % and
# 5.0 % of the cases at 1 %, 3 % and 8 % of noise: where the noise is far beyond the margin, the
# margin no longer helps and what is left is the interval's own 5 %. Of 200 such comparisons more
# than 10 are then alarms in two out of five series; more than 20 in one out of ten thousand.
@pytest.mark.parametrize(("noise", "most"), [(0.01, 10), (0.03, 10), (0.08, 20)])
def test_equal_variants_are_called_different_in_at_most_one_of_twenty(
    noise: float, most: int, make_runner: Callable[[Host], Runner]
) -> None:
    runner = make_runner(Host(noise, seed=round(noise * 1000)))
    found = [ab(runner, NONE, NONE, seed=n)["verdict"] for n in range(200)]
    assert sum(verdict in ("better", "worse") for verdict in found) <= most


@pytest.mark.parametrize(("gain", "verdict"), [(1.1, "better"), (0.9, "worse")])
def test_a_planted_tenth_is_found(
    gain: float, verdict: str, make_runner: Callable[[Host], Runner]
) -> None:
    found = []
    for seed in range(50):
        host = Host(0.03, seed)
        host.gain[str(LOCAL)] = gain
        found.append(ab(make_runner(host), NONE, LOCAL, seed=seed)["verdict"])
    assert found.count(verdict) >= 47


def test_the_ratio_is_that_of_b_to_a(make_runner: Callable[[Host], Runner]) -> None:
    host = Host(0.001)
    host.gain[str(LOCAL)] = 2.5
    found = ab(make_runner(host), NONE, LOCAL)
    assert found["ratio"]["median"] == pytest.approx(2.5, rel=0.02)
    assert (found["a"], found["b"], len(found["rounds"])) == (str(NONE), str(LOCAL), 10)


def test_equal_and_quiet_is_equivalent(make_runner: Callable[[Host], Runner]) -> None:
    assert ab(make_runner(Host(0.002)), NONE, LOCAL)["verdict"] == "equivalent"


def test_too_few_rounds_or_too_much_noise_is_inconclusive(
    make_runner: Callable[[Host], Runner],
) -> None:
    few = ab(make_runner(Host(0.002)), NONE, LOCAL, rounds=3)
    loud = ab(make_runner(Host(0.3)), NONE, LOCAL)
    assert few["verdict"] == loud["verdict"] == "inconclusive"
    assert "rounds" in few["warnings"][0]
    assert "quieter machine" in loud["warnings"][0]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"offered": 2_000_000}, "unaccounted"),
        ({"invalid": ["setting changed while it ran: x was 0, is 1"]}, "setting changed"),
        ({"invalid": ["the wire is the limit: it used 90% of its core"]}, "wire is the limit"),
        ({"cores": {0: {"softirq": 0.5, "steal": 0.4}}}, "stolen"),
        ({"cores": {0: {"softirq": 0.7, "other": 0.3}}}, "taken by other processes"),
    ],
)
def test_invalid_with_the_reason(
    changes: dict[str, Any], reason: str, make_runner: Callable[[Host], Runner]
) -> None:
    host = Host(0.01)
    host.gain[str(LOCAL)] = 2.0
    host.changes[str(LOCAL)] = changes
    found = ab(make_runner(host), NONE, LOCAL)
    assert found["verdict"] == "invalid"
    assert any(reason in each for each in found["reasons"])


def test_what_the_kernel_refuses_makes_a_run_invalid_and_no_more(
    make_runner: Callable[[Host], Runner],
) -> None:
    host = Host(0.01)
    host.failing[str(LOCAL)] = OversprayError("the kernel said no")
    found = ab(make_runner(host), NONE, LOCAL)
    assert found["verdict"] == "invalid"
    assert any("the kernel said no" in reason for reason in found["reasons"])


def test_bad_input_ends_it(make_runner: Callable[[Host], Runner]) -> None:
    host = Host()
    host.failing[str(LOCAL)] = BadInput("no such thing")
    with pytest.raises(BadInput, match="no such thing"):
        ab(make_runner(host), NONE, LOCAL)


def test_rounds_are_interleaved_in_an_order_that_the_seed_gives(
    make_runner: Callable[[Host], Runner],
) -> None:
    orders = []
    for seed in (1, 1, 2):
        host = Host()
        ab(make_runner(host), NONE, LOCAL, seed=seed)
        pairs = [host.runs[i : i + 2] for i in range(0, 20, 2)]
        assert all({name for name, _, _ in pair} == {str(NONE), str(LOCAL)} for pair in pairs)
        assert all(pair[0][2] == pair[1][2] for pair in pairs), "both see the same arrivals"
        orders.append([pair[0][0] for pair in pairs])
    assert orders[0] == orders[1] != orders[2]
    assert len(set(orders[0])) == 2


class TestBench:
    @staticmethod
    def results(tmp_path: Path) -> Results:
        return Results.create(tmp_path, "small", EXPERIMENT)

    def test_every_variant_runs_once_a_round(
        self, tmp_path: Path, make_runner: Callable[[Host], Runner]
    ) -> None:
        results, steps = self.results(tmp_path), []
        conduct(make_runner(Host()), parse(EXPERIMENT, "x"), results, lambda: steps.append(1))
        keys = [(s.round, s.variant) for s in results.samples()]
        assert len(keys) == len(set(keys)) == len(steps) == 9

    def test_an_interrupted_one_goes_on_where_it_was(
        self, tmp_path: Path, make_runner: Callable[[Host], Runner]
    ) -> None:
        experiment, results = parse(EXPERIMENT, "x"), self.results(tmp_path)
        host = Host()
        host.interrupt_after = 5
        with pytest.raises(KeyboardInterrupt):
            conduct(make_runner(host), experiment, results, lambda: None)
        first = results.samples()
        assert len(first) == 5
        again = Host()
        conduct(make_runner(again), experiment, Results.open(results.path), lambda: None)
        whole = Results.open(results.path).samples()
        assert whole[:5] == first
        assert len(again.runs) == 4
        uninterrupted = Host()
        other = self.results(tmp_path / "other")
        conduct(make_runner(uninterrupted), experiment, other, lambda: None)
        assert [(s.variant, s.seed) for s in whole] == [
            (s.variant, s.seed) for s in other.samples()
        ]

    def test_one_that_fails_does_not_end_it(
        self, tmp_path: Path, make_runner: Callable[[Host], Runner]
    ) -> None:
        host, results = Host(), self.results(tmp_path)
        host.failing[str(LOCAL)] = OversprayError("refused")
        conduct(make_runner(host), parse(EXPERIMENT, "x"), results, lambda: None)
        bad = [s for s in results.samples() if s.reasons]
        assert len(results.samples()) == 9
        assert {(s.variant, *s.reasons) for s in bad} == {(str(LOCAL), "refused")}
