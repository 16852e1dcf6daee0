"""Interleaved rounds: each variant once a round, in seeded random order, after one that does not count."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.bed import Bed
from bench.progress import Note
from bench.run import Sample, run
from bench.variant import Variant


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


def rounds(bed: Bed, variants: Sequence[Variant], timing: Timing, note: Note) -> Iterator[list[Sample]]:
    """Each round's samples, in the order of ``variants``. The first round, a short one, is thrown away: what
    is used for the first time is compiled, and the machine wakes up."""
    draw = random.Random(timing.seed)
    for number in range(-1, timing.rounds):
        order = list(range(len(variants)))
        draw.shuffle(order)
        found: dict[int, Sample] = {}
        for place in order:
            note(f"{'warm-up' if number < 0 else f'round {number + 1}/{timing.rounds}'}: {variants[place]}")
            seconds = timing.warm_up if number < 0 else timing.seconds
            found[place] = run(bed, variants[place], seconds, timing.warm_up, number)
        if number >= 0:
            yield [found[place] for place in range(len(variants))]
