"""Interleaved rounds: each variant once a round, in seeded random order, after one that does not count."""

import random
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from bench.progress import Note
from bench.run import Sample

V = TypeVar("V")
S = TypeVar("S", bound=Sample)
Measure = Callable[[V, float, float, int], S]
"""Puts a variant into effect and measures it once; seconds of that, of the warm-up before, and the round."""


@dataclass(frozen=True)
class Timing:
    """Rounds, and the seconds of each run; ``seed`` decides the order within the rounds."""

    rounds: int
    seconds: float
    seed: int = 1

    @property
    def warm_up(self) -> float:
        """Seconds before each run."""
        return min(0.1, self.seconds)

    def needs(self, variants: int) -> float:
        """Seconds that it will take, roughly: attaching and settling included."""
        return (self.rounds + 1) * variants * (self.seconds + self.warm_up + 0.15) + 3


def rounds(measure: Measure[V, S], variants: Sequence[V], timing: Timing, note: Note) -> Iterator[list[S]]:
    """Each round's samples, in the order of ``variants``."""
    found: dict[int, S] = {}
    for place, sample in runs(measure, variants, timing, note):
        found[place] = sample
        if len(found) == len(variants):
            yield [found[place] for place in range(len(variants))]
            found = {}


def runs(
    measure: Measure[V, S],
    variants: Sequence[V],
    timing: Timing,
    note: Note,
    done: Container[tuple[int, int]] = (),
) -> Iterator[tuple[int, S]]:
    """Each run when it ends, with its variant's place, but for those ``done``: pairs of round and place.

    The first round, a short one, is thrown away: what is used for the first time is compiled, and the
    machine wakes up.
    """
    draw = random.Random(timing.seed)
    for number in range(-1, timing.rounds):
        order = list(range(len(variants)))
        draw.shuffle(order)
        for place in order:
            if (number, place) in done:
                continue
            note(f"{'warm-up' if number < 0 else f'round {number + 1}/{timing.rounds}'}: {variants[place]}")
            seconds = timing.warm_up if number < 0 else timing.seconds
            sample = measure(variants[place], seconds, timing.warm_up, number)
            if number >= 0:
                yield place, sample
