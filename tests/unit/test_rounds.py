"""The order of runs: each variant once a round, never one after the other's end."""

from typing import Any, cast

import pytest

from bench import rounds as module
from bench.bed import Bed
from bench.rounds import Timing, rounds
from bench.variant import Variant

A, B, C = (Variant.parse(text) for text in ("none", "local", "pin"))


def ran(monkeypatch: pytest.MonkeyPatch, seed: int, count: int = 12) -> list[list[str]]:
    """The variants of each round, the warm-up first, in the order in which they ran."""
    done: list[tuple[int, str]] = []

    def run(_: Bed, variant: Variant, seconds: float, warm_up: float, number: int) -> Any:
        assert (seconds, warm_up) == ((0.1, 0.1) if number < 0 else (0.5, 0.1))
        done.append((number, str(variant)))
        return str(variant)

    monkeypatch.setattr(module, "run", run)
    found = list(rounds(cast(Bed, None), [A, B, C], Timing(count, 0.5, seed), lambda _: None))
    assert found == [[str(A), str(B), str(C)]] * count, "given out in the variants' order"
    return [[name for at, name in done if at == number] for number in range(-1, count)]


def test_each_round_has_each_variant_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for each in ran(monkeypatch, 1):
        assert sorted(each) == sorted(map(str, (A, B, C)))


def test_the_order_is_random_and_the_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    first = ran(monkeypatch, 1)
    assert ran(monkeypatch, 1) == first
    assert ran(monkeypatch, 2) != first
    assert len({tuple(each) for each in first}) > 2
