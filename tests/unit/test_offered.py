"""Which load is offered: found on made-up curves of what a receiver delivers."""

import pytest
from samples import sample

from bench import offered
from bench.sample import Sample

CLOSED = 2_000_000
"""What a wire offers that nothing holds back."""


class Receiver:
    """Delivers all up to ``knee`` packets a second, then less the more it is overloaded."""

    def __init__(self, knee: float, fall: float) -> None:
        self.knee, self.fall = knee, fall
        self.asked: list[int | None] = []

    def __call__(self, rate: int | None) -> Sample:
        self.asked.append(rate)
        load = CLOSED if rate is None else min(rate, CLOSED)
        got = load if load <= self.knee else max(1.0, self.knee - self.fall * (load - self.knee))
        return sample(offered=load, delivered=int(got), seconds=1.0, drops={})


@pytest.mark.parametrize("knee", [50_000, 480_000, 900_000, 1_950_000])
@pytest.mark.parametrize("fall", [0.0, 0.3])
def test_search_finds_the_knee(knee: int, fall: float) -> None:
    found = offered.search(Receiver(knee, fall), 0.001)
    assert found.loss <= 0.001
    assert found.offered == pytest.approx(knee, rel=0.03)


def test_search_needs_one_run_where_nothing_is_lost() -> None:
    receiver = Receiver(CLOSED, 0)
    assert offered.search(receiver, 0.001).offered == CLOSED
    assert receiver.asked == [None]


def test_search_says_when_nothing_passes() -> None:
    def leaky(rate: int | None) -> Sample:
        return sample(offered=rate or CLOSED, delivered=(rate or CLOSED) // 2, drops={})

    assert offered.search(leaky, 0.001).loss > 0.001


def test_best_load_is_full_load_where_the_receiver_brakes_the_wire() -> None:
    receiver = Receiver(CLOSED, 0)
    assert offered.best_rate(receiver) is None
    assert receiver.asked == [None]


@pytest.mark.parametrize("fall", [0.2, 0.5, 0.75])
def test_best_load_of_a_path_that_collapses_is_near_its_knee(fall: float) -> None:
    """RPS on the NIC delivers 0.1 of 0.7 Mpps at full load, and several times that when paced."""
    receiver = Receiver(900_000, fall)
    rate = offered.best_rate(receiver)
    assert rate is not None
    assert receiver(rate).delivered == pytest.approx(900_000, rel=0.08)
