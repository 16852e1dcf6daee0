"""The search for a load: of devices that are known, what is found is what they do."""

import math
import random
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from bench import search
from bench.run import Sample
from bench.search import Search, at, bracket
from bench.traffic import Traffic

A = Sample("x", 0, 1.0, 1, 1, 18, 1.0, 1.0, {}, {}, {}, {"0": {}}, {}, 0.0, False, {})
Device = Callable[[float], float]
"""What it delivers of an offered rate."""


@pytest.mark.parametrize("guess", [1e3, 9e5, 5e6])
@pytest.mark.parametrize("limit", [2e3, 1e6, 4.9e6])
def test_a_bracket_holds_the_limit_and_is_as_narrow_as_asked(limit: float, guess: float) -> None:
    tried: list[float] = []

    def passes(load: float) -> bool:
        tried.append(load)
        return load <= limit

    found = bracket(passes, guess, 5e6)
    assert found.low <= limit < found.high <= found.low * (1 + search.WIDTH) * 1.0001
    assert len(tried) <= 24


def test_what_loses_at_any_rate_has_no_lower_end() -> None:
    assert bracket(lambda _: False, 1e6, 2e6).low == 0


def measured_of(device: Device, wire: float, seen: list[Traffic]) -> Callable[..., Sample]:
    """Stands for `bench.run.measured`: a wire that can offer so much, into that device."""

    def measured(*given: Any) -> Sample:
        _bed, _variant, _effect, seconds, _warm_up, number, sent = given
        seen.append(sent)
        offered = wire if sent.rate is None else min(sent.rate, wire)
        got = device(offered)
        return replace(
            A,
            round=number,
            seconds=seconds,
            offered=round(offered),
            delivered=round(got),
            rate=got,
            offered_rate=offered,
        )

    return measured


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Sample, list[Traffic]]]:
    @contextmanager
    def in_effect(_variant: Any) -> Any:
        yield None

    def of(device: Device, wanted: str, wire: float = 5e6, number: int = 0) -> tuple[Sample, list[Traffic]]:
        seen: list[Traffic] = []
        monkeypatch.setattr(search, "measured", measured_of(device, wire, seen))
        bed = SimpleNamespace(in_effect=in_effect, traffic=Traffic(rate=1_000_000, arrivals="poisson"))
        found = Search(wanted, 0.001, lambda _: None)(bed, "x", 0.5, 0.1, number)  # type: ignore[arg-type]
        return found, seen

    return of


def livelock(offered: float) -> float:
    """All of it up to 2 Mpps, and less of everything beyond."""
    return offered if offered <= 2e6 else max(1e5, 4e6 - offered)


def test_the_highest_rate_without_loss(searched: Callable[..., tuple[Sample, list[Traffic]]]) -> None:
    found, seen = searched(livelock, "search")
    assert 2e6 / (1 + search.WIDTH) <= found.rate <= 2.003e6
    assert found.loss <= 0.001 and found.seconds == 0.5, "a longer trial says so"
    assert seen[0].rate is None and seen[0].arrivals == "constant", "the first is as fast as it goes"
    assert all(each.arrivals == "poisson" for each in seen[1:]), "and the others as it was asked for"
    assert len(found.trials) == len(seen) and found.trials[-1]["loss"] <= 0.001


def test_the_rate_that_delivers_most_is_not_the_highest(
    searched: Callable[..., tuple[Sample, list[Traffic]]],
) -> None:
    found, _ = searched(livelock, "best")
    assert found.rate == pytest.approx(2e6, rel=0.02)


def test_a_device_that_the_wire_can_not_overload_is_measured_as_fast_as_it_goes(
    searched: Callable[..., tuple[Sample, list[Traffic]]],
) -> None:
    found, seen = searched(lambda offered: offered, "search", wire=1.5e6)
    assert found.rate == 1.5e6 and [each.rate for each in seen] == [None, None]


def test_one_disturbance_is_no_limit(searched: Callable[..., tuple[Sample, list[Traffic]]]) -> None:
    draw = random.Random(1)

    def disturbed(offered: float) -> float:
        return livelock(offered) * (0.9 if draw.random() < 0.1 else 1)

    rates = [searched(disturbed, "search")[0].rate for _ in range(20)]
    assert sorted(rates)[10] > 1.8e6


def test_a_round_to_warm_up_does_not_search(searched: Callable[..., tuple[Sample, list[Traffic]]]) -> None:
    assert len(searched(livelock, "search", number=-1)[1]) == 1


def test_what_is_never_without_loss_is_tried_at_the_lowest(
    searched: Callable[..., tuple[Sample, list[Traffic]]],
) -> None:
    found, seen = searched(lambda offered: offered / 2, "search")
    assert found.offered_rate == search.LOWEST and len(seen) < 60
    assert not math.isclose(found.loss, 0)


def test_full_rate_is_not_paced() -> None:
    assert at(Traffic(rate=5, moderation=9, arrivals="poisson"), None) == Traffic()
    assert at(Traffic(rate=5, batch=3), 7.4) == Traffic(rate=7, batch=3)
