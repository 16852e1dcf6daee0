"""The order of runs: each variant once a round, never one after the other's end."""

from typing import Any

from bench.rounds import Timing, rounds
from bench.variant import Variant

A, B, C = (Variant.parse(text) for text in ("none", "local", "pin"))


def ran(seed: int, count: int = 12) -> list[list[str]]:
    """The variants of each round, the warm-up first, in the order in which they ran."""
    done: list[tuple[int, str]] = []

    def run(variant: Variant, seconds: float, warm_up: float, number: int) -> Any:
        assert (seconds, warm_up) == ((0.1, 0.1) if number < 0 else (0.5, 0.1))
        done.append((number, str(variant)))
        return str(variant)

    found = list(rounds(run, [A, B, C], Timing(count, 0.5, seed), lambda _: None))
    assert found == [[str(A), str(B), str(C)]] * count, "given out in the variants' order"
    return [[name for at, name in done if at == number] for number in range(-1, count)]


def test_each_round_has_each_variant_once() -> None:
    for each in ran(1):
        assert sorted(each) == sorted(map(str, (A, B, C)))


def test_the_order_is_random_and_the_seeds() -> None:
    first = ran(1)
    assert ran(1) == first
    assert ran(2) != first
    assert len({tuple(each) for each in first}) > 2
