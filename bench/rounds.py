"""Interleaved rounds: each variant once a round, in seeded random order, after one that does not count."""

import random
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass

from bench.bed import Bed
from bench.progress import Note
from bench.run import Sample, run
from bench.variant import Variant

Measure = Callable[[Bed, Variant, float, float, int], Sample]
"""Puts a variant into effect and measures it once; `bench.run.run`, unless another is given."""


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


def rounds(
    bed: Bed, variants: Sequence[Variant], timing: Timing, note: Note, measure: Measure | None = None
) -> Iterator[list[Sample]]:
    """Each round's samples, in the order of ``variants``."""
    found: dict[int, Sample] = {}
    for place, sample in runs(bed, variants, timing, note, measure=measure):
        found[place] = sample
        if len(found) == len(variants):
            yield [found[place] for place in range(len(variants))]
            found = {}


def runs(
    bed: Bed,
    variants: Sequence[Variant],
    timing: Timing,
    note: Note,
    done: Container[tuple[int, int]] = (),
    measure: Measure | None = None,
) -> Iterator[tuple[int, Sample]]:
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
            sample = (measure or run)(bed, variants[place], seconds, timing.warm_up, number)
            if number >= 0:
                yield place, sample
